//! How cost grows: with connections, with routes and the metrics that they bring, with cores. How it grows with users is what
//! `benches/users` shows. A table and a plot.

use std::fmt::Write as _;
use std::time::Duration;

use crate::Outcome;
use crate::clients::{self, PASSWORD, login, migrate, user};
use crate::line::Spread;
use crate::measure::forwarding::round;
use crate::measure::logins::in_turn;
use crate::measure::memory::at_most;
use crate::peers::{self, Bench, Log, Options, Proxy};
use crate::plot::{Panel, Series};
use crate::process::empty_logs;
use crate::report::shown;
use crate::tools::wrk_beside;
use crate::upstream::Upstream;

const CONNECTIONS: [usize; 5] = [64, 256, 1_000, 4_000, 10_000];
const ROUTES: [usize; 4] = [1, 10, 50, 200];

pub fn measure(bench: &Bench) -> Outcome<Vec<Panel>> {
    let upstream = Upstream::start(&bench.cores.load, &bench.folder)?;
    eprintln!("scaling: connections");
    let mut panels = vec![connections(bench, &upstream)?];
    eprintln!("scaling: routes");
    panels.extend(routes(bench, &upstream)?);
    eprintln!("scaling: cores");
    panels.extend(cores(bench, &upstream)?);
    Ok(panels)
}

fn median(values: Vec<f64>) -> f64 {
    Spread::of(values).map_or(f64::NAN, |spread| spread.median)
}

/// A proxy needs two descriptors a connection.
fn connections(bench: &Bench, upstream: &Upstream) -> Outcome<Panel> {
    let ours = peers::authferry(bench, upstream.address, &Options::on(&bench.cores.proxy))?;
    let nginx = peers::nginx(bench, upstream.address, &bench.cores.proxy, Log::EachRequest)?;
    let mut series =
        [&ours, &nginx].map(|proxy| Series { name: proxy.name.to_owned(), unit: "us", points: Vec::new() });
    for connections in CONNECTIONS.map(at_most) {
        let mut taken = [Vec::new(), Vec::new()];
        for turn in 0..=bench.pace.rounds.min(5) {
            for (taken, proxy) in taken.iter_mut().zip([&ours, &nginx]) {
                let cost = steady(bench, proxy, upstream, connections)?;
                if turn > 0 {
                    taken.push(cost);
                }
            }
        }
        for (series, taken) in series.iter_mut().zip(taken) {
            series.points.push((connections as f64, median(taken)));
        }
    }
    Ok(Panel { title: "CPU a forwarded request".into(), x: "connections", series: series.into() })
}

/// Microseconds of processor time a request once all connections are there: to make them costs more than a request does.
fn steady(bench: &Bench, proxy: &Proxy, upstream: &Upstream, connections: usize) -> Outcome<f64> {
    let (seconds, until_all) = (bench.pace.seconds, 1 + connections as u64 / 2_000);
    let look = || {
        std::thread::sleep(Duration::from_secs(until_all));
        let (count, cpu) = (upstream.count()?, proxy.running.cpu()?);
        std::thread::sleep(Duration::from_secs(seconds));
        let (requests, used) = (upstream.count()? - count, proxy.running.cpu()?.saturating_sub(cpu));
        Ok(used.as_secs_f64() * 1e6 / requests as f64)
    };
    let (load, cost) = wrk_beside(&bench.cores.load, proxy.plain, connections, until_all + seconds + 1, look)?;
    empty_logs(&proxy.folder)?;
    load.clean().map_err(|error| format!("{} at {connections} connections: {error}", proxy.name))?;
    Ok(cost)
}

/// A request that no route takes, one login that each route refuses, and reading the metrics that came of it.
fn routes(bench: &Bench, upstream: &Upstream) -> Outcome<[Panel; 2]> {
    let series = |name: &str, unit| Series { name: name.to_owned(), unit, points: Vec::new() };
    let (mut cost, mut scrape) = (series("forwarding", "us"), series("a scrape", "us"));
    let mut size = series("its size", "us");
    for routes in ROUTES {
        let options = Options { routes: routes - 1, ..Options::on(&bench.cores.proxy) };
        let ours = peers::authferry(bench, upstream.address, &options)?;
        let mut taken = Vec::new();
        for turn in 0..=bench.pace.rounds.min(5) {
            let round = round(bench, &ours, ours.plain, "/200", 64, bench.pace.seconds)?;
            if turn > 0 {
                taken.push(round.cpu);
            }
        }
        cost.points.push((routes as f64, median(taken)));
        let (microseconds, bytes) = scraping(&ours, routes)?;
        scrape.points.push((routes as f64, microseconds));
        size.points.push((routes as f64, bytes));
    }
    let sizes: Vec<String> =
        size.points.iter().map(|(routes, bytes)| format!("{routes}: {} B", shown(*bytes))).collect();
    eprintln!("scaling: size of the metrics by routes: {}", sizes.join(", "));
    Ok([
        Panel { title: "CPU a forwarded request".into(), x: "routes", series: vec![cost] },
        Panel { title: "CPU a scrape of the metrics".into(), x: "routes, each used", series: vec![scrape] },
    ])
}

/// Microseconds of processor time, and bytes.
fn scraping(ours: &Proxy, routes: usize) -> Outcome<(f64, f64)> {
    const SCRAPES: u32 = 2_000;
    let admin = ours.admin.ok_or("no admin listener")?;
    let get = format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\n\r\n");
    clients::runtime()?.block_on(async {
        let mut client = clients::Client::connect(ours.plain, None).await?;
        for number in 0..routes {
            // No login at all: it is counted, and costs no hash.
            let bad = login(&user(0), PASSWORD);
            let bad = String::from_utf8_lossy(&bad)
                .replace("/login", &format!("/tenant-{number}/login"))
                .replace("{\"email", "[\"email");
            let status = client.ask(bad.as_bytes()).await?;
            if number + 1 < routes && status != 400 {
                return Err(format!("what is no login was answered with {status}").into());
            }
        }
        let mut client = clients::Client::connect(admin, None).await?;
        client.ask(get.as_bytes()).await?;
        let before = ours.running.cpu()?;
        for _ in 0..SCRAPES {
            client.ask(get.as_bytes()).await?;
        }
        let used = ours.running.cpu()?.saturating_sub(before);
        Ok(((used / SCRAPES).as_secs_f64() * 1e6, client.last_length() as f64))
    })
}

/// One core and two, the load on all of them.
fn cores(bench: &Bench, upstream: &Upstream) -> Outcome<[Panel; 2]> {
    let series = |name: &str, unit| Series { name: name.to_owned(), unit, points: Vec::new() };
    let (mut forwarding, mut logins) = (series("forwarding", "/s"), series("logins", "/s"));
    for (count, cores) in [(1.0, &bench.cores.proxy), (2.0, &bench.cores.two)] {
        let ours = peers::authferry(bench, upstream.address, &Options::on(cores))?;
        migrate(ours.plain, 0..16)?;
        let (mut requests, mut entered) = (Vec::new(), Vec::new());
        for _ in 0..bench.pace.rounds.min(5) {
            requests.push(round(bench, &ours, ours.plain, "/200", 64, bench.pace.seconds)?.per_second);
            let window = Duration::from_secs(bench.pace.login_seconds);
            entered.push(clients::logins(ours.plain, 8, Duration::from_millis(300), window, in_turn(16))?.per_second);
        }
        forwarding.points.push((count, median(requests)));
        logins.points.push((count, median(entered)));
    }
    Ok([
        Panel {
            title: "forwarded requests a second".into(),
            x: "cores; the load and the app have the others, or share both",
            series: vec![forwarding],
        },
        Panel { title: "logins a second of migrated users".into(), x: "cores", series: vec![logins] },
    ])
}

/// The same as a table in Markdown.
pub fn table(panels: &[Panel]) -> String {
    let mut out = String::from("| figure | by | | authferry | beside it |\n| --- | --- | ---: | ---: | ---: |\n");
    for panel in panels {
        let Some(ours) = panel.series.first() else { continue };
        for (x, y) in &ours.points {
            let others = panel.series.iter().skip(1).filter_map(|series| {
                let (_, y) = series.points.iter().find(|(other, _)| other == x)?;
                Some(format!("{} {}", series.name, shown(*y)))
            });
            let others = others.collect::<Vec<_>>().join(", ");
            let _ = writeln!(
                out,
                "| {} ({}) | {} | {} | {} | {others} |",
                panel.title,
                ours.unit,
                panel.x,
                shown(*x),
                shown(*y)
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_puts_peers_beside_ours_at_the_same_size() {
        let series =
            |name: &str, points: &[(f64, f64)]| Series { name: name.into(), unit: "us", points: points.to_vec() };
        let panel = Panel {
            title: "CPU".into(),
            x: "connections",
            series: vec![series("authferry", &[(64.0, 29.6), (256.0, 37.9)]), series("nginx", &[(64.0, 30.9)])],
        };
        let table = table(&[panel]);
        assert!(table.contains("| CPU (us) | connections | 64 | 29.6 | nginx 30.9 |"), "{table}");
        assert!(table.contains("| CPU (us) | connections | 256 | 37.9 |  |"), "{table}");
    }
}
