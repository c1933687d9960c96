//! Small plots as SVG, a panel each: a line for each series, its name at its end. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::report::shown;

/// One plot: how something grows.
#[derive(Debug, Clone, Serialize)]
pub struct Panel {
    pub title: String,
    pub x: &'static str,
    pub series: Vec<Series>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Series {
    pub name: String,
    pub unit: &'static str,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 100.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 42.0;
const COLOURS: [&str; 4] = ["#0b6e4f", "#c1440e", "#30547c", "#7a5195"];

/// The panels, two in a row.
pub fn svg(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(2);
    let (width, height) = (WIDTH * 2.0, HEIGHT * rows as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let (x, y) = ((index % 2) as f64 * WIDTH, (index / 2) as f64 * HEIGHT);
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">\n{}</g>", drawn(panel));
    }
    out.push_str("</svg>\n");
    out
}

/// x grows by factors, y from zero evenly.
fn drawn(panel: &Panel) -> String {
    let all = || panel.series.iter().flat_map(|series| &series.points);
    let ends = |of: fn(&(f64, f64)) -> f64| {
        all()
            .map(of)
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ((low, high), (_, top)) = (ends(|point| point.0), ends(|point| point.1));
    let (span, top) = ((high / low).ln().max(f64::EPSILON), above(top));
    let at_x = |x: f64| LEFT + (x / low).ln() / span * (WIDTH - LEFT - RIGHT);
    let at_y = |y: f64| TOP + (1.0 - y / top) * (HEIGHT - TOP - BOTTOM);
    let mut out = String::new();
    let unit = panel.series.first().map_or("", |series| series.unit);
    let text = |x: f64, y: f64, anchor: &str, text: &str| {
        format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n", escaped(text))
    };
    let line = |from: (f64, f64), to: (f64, f64)| {
        format!("<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#ccc\"/>\n", from.0, from.1, to.0, to.1)
    };
    out.push_str(&text(LEFT, 18.0, "start", &format!("{} ({unit})", panel.title)));
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        out.push_str(&line((LEFT, at_y(value)), (WIDTH - RIGHT, at_y(value))));
        out.push_str(&text(LEFT - 5.0, at_y(value) + 4.0, "end", &shown(value)));
    }
    let mut marks: Vec<f64> = all().map(|point| point.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for mark in marks {
        out.push_str(&text(at_x(mark), HEIGHT - BOTTOM + 16.0, "middle", &shown(mark)));
    }
    out.push_str(&text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0, "middle", panel.x));
    for (series, colour) in panel.series.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<&(f64, f64)> = series.points.iter().filter(|point| point.1.is_finite()).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y))).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in &points {
            let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", at_x(*x), at_y(*y));
        }
        if let Some((x, y)) = points.last() {
            let _ = write!(
                out,
                "<g fill=\"{colour}\">{}</g>\n",
                text(at_x(*x) + 7.0, at_y(*y) + 4.0, "start", &series.name).trim_end()
            );
        }
    }
    out
}

/// A number that is not less, and whose quarters are easily read.
fn above(value: f64) -> f64 {
    if !(value > 0.0 && value.is_finite()) {
        return 1.0;
    }
    let scale = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    steps.into_iter().find(|step| step * scale >= value).unwrap_or(10.0) * scale
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_numbers_that_are_easily_read() {
        for (value, end) in
            [(210.0, 240.0), (20.3, 24.0), (44_679.0, 60_000.0), (1.0, 1.0), (0.0, 1.0), (f64::NEG_INFINITY, 1.0)]
        {
            assert!((above(value) - end).abs() < 1e-9, "{value}: {}", above(value));
        }
    }

    #[test]
    fn every_point_is_inside_its_panel_and_text_is_escaped() {
        let points = vec![(64.0, 30.0), (256.0, 38.0), (10_000.0, 55.0)];
        let panel = Panel {
            title: "CPU & cost".into(),
            x: "connections",
            series: vec![Series { name: "authferry".into(), unit: "us", points }],
        };
        let svg = svg(&[panel.clone(), panel.clone(), panel]);
        assert!(svg.contains("CPU &amp; cost (us)") && !svg.contains("NaN"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 9);
        for circle in svg.lines().filter(|line| line.starts_with("<circle")) {
            let number =
                |name: &str| circle.split(name).nth(1).unwrap().split('"').nth(1).unwrap().parse::<f64>().unwrap();
            assert!(
                (LEFT..=WIDTH - RIGHT).contains(&number("cx=")) && (TOP..=HEIGHT - BOTTOM).contains(&number("cy=")),
                "{circle}"
            );
        }
    }

    #[test]
    fn a_panel_with_one_point_or_none_is_drawn_too() {
        let of = |points: Vec<(f64, f64)>| Panel {
            title: "t".into(),
            x: "x",
            series: vec![Series { name: "s".into(), unit: "us", points }],
        };
        for panel in [of(vec![(1.0, 0.0)]), of(vec![]), of(vec![(1.0, 2.0), (2.0, f64::NAN)])] {
            assert!(!svg(&[panel]).contains("<circle cx=\"NaN"));
        }
    }
}
