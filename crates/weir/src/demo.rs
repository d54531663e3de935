//! placeholder while the rest compiles
use anyhow::Result;
use std::process::ExitCode;
pub(crate) fn print_config() -> Result<ExitCode> {
    Ok(ExitCode::FAILURE)
}
pub(crate) fn once() -> Result<ExitCode> {
    Ok(ExitCode::FAILURE)
}
pub(crate) fn stay() -> Result<ExitCode> {
    Ok(ExitCode::FAILURE)
}
