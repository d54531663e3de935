//! Bar charts as SVG, written by hand: a group of bars for each work, a bar for each load balancer. They follow
//! the reader's light or dark colours, which a drawing library would fix.

use super::table::figure;
use super::{Row, Summary};
use crate::peer::Peer;
use crate::work::{Family, Section};
use std::fmt::Write as _;

/// The chart of one family in one of the tables; `None` if it has no figures. For latencies only the medians: the outliers, which
/// are in the table, would squeeze all other bars.
pub fn svg(summary: &Summary, section: Section, family: Family) -> Option<String> {
    let drawn = |row: &&Row| row.family == family && !row.peers.is_empty() && !row.name.ends_with(":p99");
    let rows: Vec<&Row> = summary.rows(section).filter(drawn).collect();
    let mut peers: Vec<Peer> = rows.iter().flat_map(|row| row.peers.keys().copied()).collect();
    peers.sort_unstable();
    peers.dedup();
    let medians = rows.iter().flat_map(|row| row.peers.values()).map(|spread| spread.median);
    let most = medians.fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let mut body = legend(&peers);
    let mut y = TOP;
    for row in rows {
        y = group(&mut body, row, y, scale);
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y:.0}\" width=\"{WIDTH}\" height=\"{y:.0}\" \
         role=\"img\" aria-label=\"{title}\">\n{STYLE}<text class=\"title\" x=\"12\" y=\"24\">{title}</text>\n\
         <text class=\"note\" x=\"12\" y=\"42\">median of all rounds; shorter is better</text>\n{body}</svg>\n",
        title = family.title(),
    ))
}

/// One work: its title, and a bar for each load balancer below it.
fn group(body: &mut String, row: &Row, top: f64, scale: f64) -> f64 {
    let mut y = top;
    write_to(
        body,
        format_args!("<text class=\"work\" x=\"12\" y=\"{:.0}\">{}</text>\n", y + 12.0, row.title),
    );
    y += 18.0;
    for (&peer, spread) in &row.peers {
        // A latency that adds nothing, or less than the noise, is a line.
        let width = (spread.median * scale).max(1.0);
        let middle = y + BAR - 3.5;
        write_to(
            body,
            format_args!(
                "<text class=\"name\" x=\"{:.0}\" y=\"{middle:.1}\">{}</text>\
                 <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"2\"/>\
                 <text class=\"value\" x=\"{:.1}\" y=\"{middle:.1}\">{}</text>\n",
                LEFT - 6.0,
                peer.label(),
                BAR - 2.0,
                LEFT + width + 5.0,
                figure(spread.median),
                class = peer.label(),
            ),
        );
        y += BAR;
    }
    y + GAP
}

fn legend(peers: &[Peer]) -> String {
    let mut body = String::new();
    let mut x = 12.0;
    for peer in peers {
        write_to(
            &mut body,
            format_args!(
                "<rect class=\"{}\" x=\"{x:.0}\" y=\"52\" width=\"11\" height=\"11\" rx=\"2\"/>\
                 <text class=\"name start\" x=\"{:.0}\" y=\"62\">{}</text>\n",
                peer.label(),
                x + 16.0,
                peer.title()
            ),
        );
        // Letters of this size are about 6.2 units wide.
        x += 40.0 + 6.2 * f64::from(u32::try_from(peer.title().len()).unwrap_or(0));
    }
    body
}

fn write_to(body: &mut String, what: std::fmt::Arguments<'_>) {
    body.write_fmt(what).unwrap_or_default(); // Writing to a String does not fail.
}

const WIDTH: f64 = 760.0;
/// The width for the names left of the bars.
const LEFT: f64 = 100.0;
/// The width for the longest figure right of the bars.
const RIGHT: f64 = 70.0;
/// The top of the first group.
const TOP: f64 = 80.0;
const BAR: f64 = 15.0;
const GAP: f64 = 12.0;

/// Colours that people with any kind of colour blindness can tell apart, visible on white and on black.
const STYLE: &str = "<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 } .note { fill: #57606a } .work { font-weight: 600 }
.name { font-size: 11px; text-anchor: end; fill: #57606a } .start { text-anchor: start } .value { font-size: 11px }
.weir { fill: #d55e00 } .weir-records { fill: #e69f00 } .haproxy { fill: #0072b2 } .nginx { fill: #009e73 } .envoy { fill: #a56fa9 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note, .name { fill: #9da7b1 }
  .weir { fill: #f0803c } .haproxy { fill: #56b4e9 } .nginx { fill: #2fbf91 } .envoy { fill: #cc9bd0 }
}
</style>
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::summary;

    #[test]
    fn a_chart_has_a_bar_for_each_figure() {
        let chart = svg(&summary(), Section::Tcp, Family::Bulk).unwrap();
        // Four peers, each with a bar and a place in the legend.
        assert_eq!(chart.matches("<rect").count(), 8, "{chart}");
        assert!(chart.contains(">1.10</text>") && chart.contains("offload, bulk download"));
        assert!(chart.contains("prefers-color-scheme: dark"));
        assert!(svg(&summary(), Section::Tcp, Family::Memory).is_none(), "nothing was measured");
        assert!(svg(&summary(), Section::Http, Family::Bulk).is_none(), "nothing was measured");
    }

    #[test]
    fn bars_are_as_long_as_their_figures_say() {
        let chart = svg(&summary(), Section::Tcp, Family::Bulk).unwrap();
        let width = |class: &str| -> f64 {
            let bar =
                chart.split("<rect").find(|part| part.contains(&format!("\"{class}\" x=\"100\""))).unwrap();
            bar.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        assert_eq!(width("haproxy"), WIDTH - LEFT - RIGHT, "the longest");
        assert!((width("nginx") / width("haproxy") - 2.0 / 3.0).abs() < 0.01);
    }
}
