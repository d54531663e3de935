//! `weir schema`: prints the JSON Schema with which editors complete and check a weir.yaml.

use crate::terminal::end;
use clap::Args;
use std::process::ExitCode;

/// Prints the JSON Schema (draft 7) of the configuration. Editors with YAML support use it if the file's first line is
/// `# yaml-language-server: $schema=weir.schema.json`.
#[derive(Debug, Args)]
pub(super) struct Schema {}

impl Schema {
    pub(super) fn execute(&self) -> ExitCode {
        end(text().map_err(Into::into))
    }
}

fn text() -> serde_json::Result<String> {
    serde_json::to_string_pretty(&weir_config::schema::json_schema())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_schema_is_the_file_that_editors_get() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/weir.schema.json");
        assert_eq!(text().unwrap() + "\n", std::fs::read_to_string(kept).unwrap());
    }
}
