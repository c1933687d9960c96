//! The load generators: how each is called, and what its output says.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Outcome;
use crate::process::{output, started};

/// What a browser sends along, more or less: the same for everybody.
const HEADERS: [&str; 4] = [
    "User-Agent: bench/1",
    "Accept: */*",
    "Accept-Encoding: gzip, br",
    "Cookie: session=0123456789abcdef0123456789abcdef",
];

/// What a load of wrk or h2load came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    pub requests: u64,
    pub per_second: f64,
    /// Milliseconds; none where the tool does not say.
    pub p99: Option<f64>,
    /// Answers that were no success.
    pub refused: u64,
    /// Connections that failed.
    pub errors: u64,
    /// Cipher and key exchange, where there was TLS.
    pub tls: String,
}

impl Load {
    /// Everything that was asked was answered well, but for one in a thousand.
    pub fn clean(self) -> Outcome<Self> {
        if self.requests == 0 || (self.refused + self.errors) * 1_000 > self.requests {
            return Err(
                format!("{} of {} requests refused, {} errors", self.refused, self.requests, self.errors).into()
            );
        }
        Ok(self)
    }
}

/// wrk with one thread, for whole seconds.
pub fn wrk(
    cores: &str,
    to: SocketAddr,
    path: &str,
    connections: usize,
    seconds: u64,
    script: Option<&str>,
) -> Outcome<Load> {
    let arguments = wrk_arguments(to, path, connections, seconds, script);
    understood(&output(cores, "wrk", &arguments, Duration::from_secs(seconds + 30))?)
}

/// The same while something is looked at.
pub fn wrk_beside<T>(
    cores: &str,
    to: SocketAddr,
    connections: usize,
    seconds: u64,
    look: impl FnOnce() -> Outcome<T>,
) -> Outcome<(Load, T)> {
    let longest = Duration::from_secs(seconds + 30);
    let tool = started(cores, "wrk", &wrk_arguments(to, "/200", connections, seconds, None), longest)?;
    let seen = look();
    let load = understood(&tool.finish()?)?;
    Ok((load, seen?))
}

fn understood(said: &str) -> Outcome<Load> {
    parse_wrk(said).ok_or_else(|| format!("wrk said what is not understood:\n{said}").into())
}

fn wrk_arguments(to: SocketAddr, path: &str, connections: usize, seconds: u64, script: Option<&str>) -> Vec<String> {
    let mut arguments: Vec<String> = ["-t1", "--latency", "--timeout", "10s"].map(str::to_owned).into();
    arguments.extend([format!("-c{connections}"), format!("-d{seconds}s")]);
    for header in HEADERS {
        arguments.extend(["-H".to_owned(), header.to_owned()]);
    }
    if let Some(script) = script {
        arguments.extend(["-s".to_owned(), script.to_owned()]);
    }
    arguments.push(format!("http://{to}{path}"));
    arguments
}

fn parse_wrk(said: &str) -> Option<Load> {
    let after = |label: &str| said.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in "))?.0.parse().ok()?;
    let errors = after("Socket errors:").map_or(0, |errors| {
        // Those that waited for more than ten seconds are counted as well.
        errors.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()).sum()
    });
    Some(Load {
        requests,
        per_second: after("Requests/sec:")?.parse().ok()?,
        p99: Some(milliseconds(after("99%")?)?),
        refused: after("Non-2xx or 3xx responses:").map_or(Some(0), |count| count.parse().ok())?,
        errors,
        tls: String::new(),
    })
}

/// As wrk writes durations: `812.00us`, `1.06ms`, `1.20s`, `1.02m`.
fn milliseconds(text: &str) -> Option<f64> {
    let (unit, times) = [("us", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 6e4)]
        .into_iter()
        .find(|(unit, _)| text.strip_suffix(unit).is_some_and(|number| number.parse::<f64>().is_ok()))?;
    Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * times)
}

/// The version of HTTP that h2load speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// h2load over TLS 1.3, with the cipher and key exchange that are the same for everybody.
pub fn h2load(cores: &str, to: SocketAddr, http: Http, connections: usize, seconds: u64) -> Outcome<Load> {
    let mut arguments: Vec<String> =
        ["-t1", "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"].map(str::to_owned).into();
    arguments.extend([format!("-c{connections}"), format!("-D{seconds}")]);
    arguments.push(match http {
        Http::One => "--h1".to_owned(),
        Http::Two => "-m16".to_owned(),
    });
    for header in HEADERS {
        arguments.extend(["-H".to_owned(), header.to_owned()]);
    }
    arguments.push(format!("https://{to}/200"));
    let said = output(cores, "h2load", &arguments, Duration::from_secs(seconds + 30))?;
    parse_h2load(&said).ok_or_else(|| format!("h2load said what is not understood:\n{said}").into())
}

fn parse_h2load(said: &str) -> Option<Load> {
    let after = |label: &str| said.lines().find_map(|line| line.strip_prefix(label)).map(str::trim);
    let counts = after("requests:")?;
    let count = |name: &str| -> Option<u64> {
        counts.split(',').find_map(|part| part.trim().strip_suffix(name)?.trim().parse().ok())
    };
    let codes = after("status codes:")?;
    let good: u64 = codes.split(',').find_map(|part| part.trim().strip_suffix("2xx")?.trim().parse().ok())?;
    let per_second = after("finished in")?.split(", ").find_map(|part| part.strip_suffix(" req/s")?.parse().ok())?;
    let done = count("done")?;
    let tls = [after("TLS Protocol:"), after("Cipher:"), after("Server Temp Key:"), after("Application protocol:")];
    Some(Load {
        requests: done,
        per_second,
        p99: None,
        refused: done.saturating_sub(good),
        errors: count("failed")? + count("errored")? + count("timeout")?,
        tls: tls.into_iter().flatten().collect::<Vec<_>>().join(" "),
    })
}

/// hey, posting one login over and over: logins a second, from a load generator that is not ours.
pub fn hey(cores: &str, to: SocketAddr, path: &str, body: &str, clients: usize, seconds: u64) -> Outcome<f64> {
    let arguments =
        ["-z", &format!("{seconds}s"), "-c", &clients.to_string(), "-m", "POST", "-T", "application/json", "-d", body];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
    arguments.push(format!("http://{to}{path}"));
    let said = output(cores, "hey", &arguments, Duration::from_secs(seconds + 60))?;
    parse_hey(&said).ok_or_else(|| format!("hey said what is not understood:\n{said}").into())
}

fn parse_hey(said: &str) -> Option<f64> {
    let all_good = said.lines().filter(|line| line.trim_start().starts_with('[')).all(|line| line.contains("[200]"));
    let rate = said.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"))?.trim().parse().ok();
    rate.filter(|_| all_good)
}

/// One hash by Debian's `argon2` command, milliseconds as it measures itself.
pub fn libargon2(cores: &str, memory_mib: u32, iterations: u32) -> Outcome<f64> {
    let script =
        format!("printf 'correct horse' | argon2 sixteen-bytes-sa -id -t {iterations} -k {} -p 1", memory_mib * 1024);
    let said = output(cores, "sh", &["-c".to_owned(), script], Duration::from_secs(20))?;
    parse_argon2(&said).ok_or_else(|| format!("argon2 said what is not understood:\n{said}").into())
}

fn parse_argon2(said: &str) -> Option<f64> {
    let seconds = said.lines().find_map(|line| line.trim().strip_suffix(" seconds"))?;
    Some(seconds.parse::<f64>().ok()? * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 1s test @ http://127.0.0.1:8080/200
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.11ms  312.55us  13.41ms   93.90%
    Req/Sec    30.31k     1.02k   31.60k    90.91%
  Latency Distribution
     50%    2.06ms
     75%    2.12ms
     90%    2.23ms
     99%    3.39ms
  33163 requests in 1.10s, 9.58MB read
Requests/sec:  30148.76
Transfer/sec:      8.71MB
";

    #[test]
    fn wrk_is_understood() {
        let load = parse_wrk(WRK).unwrap();
        assert_eq!(
            (load.requests, load.per_second, load.p99, load.refused, load.errors),
            (33163, 30148.76, Some(3.39), 0, 0)
        );
        assert!(load.clean().is_ok());
    }

    #[test]
    fn what_wrk_says_of_refusals_and_errors_is_not_overlooked() {
        let said = WRK.replace(
            "Requests/sec:",
            "  Socket errors: connect 1, read 2, write 0, timeout 40\n  Non-2xx or 3xx responses: 33000\nRequests/sec:",
        );
        let load = parse_wrk(&said).unwrap();
        assert_eq!((load.refused, load.errors), (33000, 43));
        assert!(load.clean().is_err());
        assert_eq!(parse_wrk("unable to connect to 127.0.0.1:9 Connection refused\n"), None);
    }

    #[test]
    fn durations_of_wrk_have_four_units() {
        for (text, found) in [("812.00us", 0.812), ("1.06ms", 1.06), ("1.20s", 1200.0), ("1.50m", 90_000.0)] {
            assert_eq!(milliseconds(text), Some(found));
        }
        assert_eq!(milliseconds("soon"), None);
    }

    const H2LOAD: &str = "starting benchmark...
spawning thread #0: 32 total client(s). Timing-based test with 0s of warm-up time and 2s of main duration for measurements.
Warm-up started for thread #0.
Main benchmark duration is started for thread #0.
Main benchmark duration is over for thread #0. Stopping all clients.
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2
Stopped all clients for thread #0

finished in 2.00s, 41200.50 req/s, 10.22MB/s
requests: 82401 total, 82913 started, 82401 done, 82400 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 82400 2xx, 0 3xx, 0 4xx, 1 5xx
traffic: 20.4MB (21431234) total, 2.4MB (2545454) headers (space savings 60.1%), 15.7MB (16480200) data
                     min         max         mean         sd        +/- sd
time for request:      310us     18.22ms      6.11ms      1.10ms    80.11%
req/s           :    1280.11     1301.53     1287.52        6.03    65.62%
";

    #[test]
    fn h2load_is_understood() {
        let load = parse_h2load(H2LOAD).unwrap();
        assert_eq!((load.requests, load.per_second, load.refused, load.errors), (82401, 41200.5, 1, 1));
        assert_eq!(load.tls, "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519 253 bits h2");
        assert_eq!(parse_h2load("Could not connect to host"), None);
    }

    #[test]
    fn hey_and_argon2_are_understood() {
        let said = "\nSummary:\n  Total:\t2.0301 secs\n  Requests/sec:\t63.0502\n\nStatus code distribution:\n  [200]\t128 responses\n";
        assert_eq!(parse_hey(said), Some(63.0502));
        assert_eq!(
            parse_hey(&said.replace("[200]\t128 responses", "[200]\t120 responses\n  [503]\t8 responses")),
            None
        );
        assert_eq!(
            parse_argon2("Type:\t\tArgon2id\nEncoded:\t$argon2id$v=19$...\n0.038 seconds\nVerification ok\n"),
            Some(38.0)
        );
    }
}
