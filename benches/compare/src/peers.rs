//! Who is compared: authferry, nginx, HAProxy and the login service on Express, each started with its configuration from `conf/`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::process::{Cores, Running, free_port, on_cores, output};

/// Everything that measuring needs to know of this run.
pub struct Bench {
    pub cores: Cores,
    /// Where the files of the run lie; deleted at the end.
    pub folder: PathBuf,
    /// Where this bench lies: configurations, scripts.
    pub here: PathBuf,
    /// Cargo's target directory.
    pub built: PathBuf,
    pub pace: Pace,
    /// In the stores of P9, P10, P11 and P14.
    pub users: u64,
}

/// How long things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub quick: bool,
    pub rounds: usize,
    /// Of forwarding, seconds.
    pub seconds: u64,
    /// Of logins, seconds.
    pub login_seconds: u64,
    /// Of single hashes.
    pub hashes: usize,
}

impl Pace {
    pub const FULL: Self = Self { quick: false, rounds: 9, seconds: 2, login_seconds: 4, hashes: 31 };
    pub const QUICK: Self = Self { quick: true, rounds: 3, seconds: 1, login_seconds: 2, hashes: 9 };
}

impl Bench {
    pub fn proxy_binary(&self) -> PathBuf {
        self.built.join("release/authferry")
    }

    /// One of the configurations with its names filled in, written into the folder.
    fn configuration(&self, name: &str, into: &str, values: &[(&str, String)]) -> Outcome<PathBuf> {
        let text = fs::read_to_string(self.here.join("conf").join(name))?;
        let path = self.folder.join(into);
        fs::write(&path, filled(&text, values)?)?;
        Ok(path)
    }

    /// A folder of its own for one process, so that runs do not meet.
    fn subfolder(&self, name: &str) -> Outcome<PathBuf> {
        let folder = self.folder.join(format!("{name}-{}", free_port()?));
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// Replaces `@NAME@` by its value; a name that is left over is a mistake.
fn filled(text: &str, values: &[(&str, String)]) -> Outcome<String> {
    let text = values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value));
    let unfilled = text.lines().filter(|line| !line.trim_start().starts_with('#')).find_map(|line| {
        let name = line.split('@').nth(1)?;
        (!name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).then(|| name.to_owned())
    });
    unfilled.map_or(Ok(text), |name| Err(format!("nothing to fill in for @{name}@").into()))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Whether a line is written for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    EachRequest,
    WarningsOnly,
}

/// How authferry limits attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// On, and so high that the load is not refused.
    Raised,
    /// As they are by default.
    Default,
}

/// What differs from run to run.
#[derive(Debug, Clone)]
pub struct Options {
    pub cores: String,
    pub log: Log,
    pub limits: Limits,
    pub tls: bool,
    /// Login routes beside the one that is used.
    pub routes: usize,
}

impl Options {
    pub fn on(cores: &str) -> Self {
        Self { cores: cores.to_owned(), log: Log::EachRequest, limits: Limits::Raised, tls: false, routes: 0 }
    }
}

/// A proxy that runs.
pub struct Proxy {
    pub name: &'static str,
    pub running: Running,
    pub plain: SocketAddr,
    /// nginx only.
    pub unbuffered: Option<SocketAddr>,
    pub ecdsa: Option<SocketAddr>,
    pub rsa: Option<SocketAddr>,
    /// authferry only.
    pub admin: Option<SocketAddr>,
    /// Where its log is.
    pub folder: PathBuf,
}

/// The release binary of this checkout.
pub fn authferry(bench: &Bench, upstream: SocketAddr, options: &Options) -> Outcome<Proxy> {
    let folder = bench.subfolder("authferry")?;
    let (plain, admin, ecdsa, rsa) = (free_port()?, free_port()?, free_port()?, free_port()?);
    let certificates = if options.tls { certificates(bench)? } else { PathBuf::new() };
    let listener = |port: u16, name: &str| {
        let file = |kind: &str| certificates.join(format!("{name}.{kind}")).display().to_string();
        format!(
            "[[listener]]\nbind = \"127.0.0.1:{port}\"\ntls = {{ cert = {:?}, key = {:?} }}\n",
            file("pem"),
            file("key")
        )
    };
    let route = |number: usize| {
        format!(
            "[[route]]\nname = \"login-{number}\"\naction = \"login\"\nmatch = {{ method = \"POST\", path = \"/tenant-{number}/login\" }}\n\
             request = {{ login = \"/email\", password = \"/password\" }}\nlegacy = \"call\"\n\
             reply.ok = {{ status = 200, json = '{{\"token\": {{{{ token | tojson }}}}}}' }}\n"
        )
    };
    let limits = match options.limits {
        Limits::Raised => {
            "per_ip = { rate = \"1000000/1s\", burst = 1000000 }\n\
             per_account = { rate = \"1000000/1s\", burst = 1000000, count = \"failures\" }"
        }
        Limits::Default => "",
    };
    let level = match options.log {
        Log::EachRequest => "info",
        Log::WarningsOnly => "warn",
    };
    let values = [
        ("PLAIN", plain.to_string()),
        ("ADMIN", admin.to_string()),
        ("TLS", if options.tls { listener(ecdsa, "ecdsa") + &listener(rsa, "rsa") } else { String::new() }),
        ("UPSTREAM", upstream.to_string()),
        ("ROUTES", (0..options.routes).map(route).collect()),
        ("FOLDER", folder.display().to_string()),
        ("LIMITS", limits.to_owned()),
        ("LEVEL", level.to_owned()),
    ];
    let config = bench.configuration("proxy.toml", &format!("authferry-{plain}.toml"), &values)?;
    let mut command = on_cores(&options.cores, &bench.proxy_binary());
    command.arg("run").arg("--config").arg(config);
    let running = Running::start("authferry", command, &folder)?.listening(local(plain))?;
    Ok(Proxy {
        name: "authferry",
        running,
        plain: local(plain),
        unbuffered: None,
        ecdsa: options.tls.then(|| local(ecdsa)),
        rsa: options.tls.then(|| local(rsa)),
        admin: Some(local(admin)),
        folder,
    })
}

pub fn nginx(bench: &Bench, upstream: SocketAddr, cores: &str, log: Log) -> Outcome<Proxy> {
    let folder = bench.subfolder("nginx")?;
    let certificates = certificates(bench)?;
    for file in ["ecdsa.pem", "ecdsa.key", "rsa.pem", "rsa.key"] {
        fs::copy(certificates.join(file), folder.join(file))?;
    }
    let (plain, unbuffered, ecdsa, rsa) = (free_port()?, free_port()?, free_port()?, free_port()?);
    let values = [
        // Started as root it would work as a user who cannot look into the folder.
        ("USER", if rustix::process::geteuid().is_root() { "user root;".to_owned() } else { String::new() }),
        ("FILES", files().to_string()),
        ("FOLDER", folder.display().to_string()),
        (
            "ACCESS_LOG",
            match log {
                Log::EachRequest => format!("{}/access.log combined", folder.display()),
                Log::WarningsOnly => "off".to_owned(),
            },
        ),
        ("UPSTREAM", upstream.to_string()),
        ("PLAIN", plain.to_string()),
        ("UNBUFFERED", unbuffered.to_string()),
        ("TLS_ECDSA", ecdsa.to_string()),
        ("TLS_RSA", rsa.to_string()),
    ];
    let config = bench.configuration("nginx.conf", &format!("nginx-{plain}.conf"), &values)?;
    let mut command = on_cores(cores, Path::new("nginx"));
    command.args(["-g", "daemon off;", "-e"]).arg(folder.join("nginx-error.log")).arg("-c").arg(config);
    let running = Running::start("nginx", command, &folder)?.listening(local(plain))?;
    Ok(Proxy {
        name: "nginx",
        running,
        plain: local(plain),
        unbuffered: Some(local(unbuffered)),
        ecdsa: Some(local(ecdsa)),
        rsa: Some(local(rsa)),
        admin: None,
        folder,
    })
}

pub fn haproxy(bench: &Bench, upstream: SocketAddr, cores: &str, log: Log) -> Outcome<Proxy> {
    let folder = bench.subfolder("haproxy")?;
    let plain = free_port()?;
    let (to, requests) = match log {
        Log::EachRequest => ("    log stdout format raw local0 info", "    option httplog\n    log global"),
        Log::WarningsOnly => ("", ""),
    };
    let values = [
        // It refuses to start where it may not open two files for each.
        ("CONNECTIONS", (files().saturating_sub(200) / 2).min(16_000).to_string()),
        ("LOG", to.to_owned()),
        ("LOG_REQUESTS", requests.to_owned()),
        ("PLAIN", plain.to_string()),
        ("UPSTREAM", upstream.to_string()),
    ];
    let config = bench.configuration("haproxy.cfg", &format!("haproxy-{plain}.cfg"), &values)?;
    let mut command = on_cores(cores, Path::new("haproxy"));
    command.args(["-db", "-f"]).arg(config);
    let running = Running::start("haproxy", command, &folder)?.listening(local(plain))?;
    Ok(Proxy {
        name: "HAProxy",
        running,
        plain: local(plain),
        unbuffered: None,
        ecdsa: None,
        rsa: None,
        admin: None,
        folder,
    })
}

/// hyper by itself: what anybody pays who builds a proxy on it.
pub fn hyper_alone(bench: &Bench, upstream: SocketAddr, cores: &str) -> Outcome<Proxy> {
    let folder = bench.subfolder("hyper")?;
    let plain = local(free_port()?);
    let mut command = on_cores(cores, &bench.built.join("release/authferry-compare-hyper"));
    command.args([plain.to_string(), upstream.to_string()]);
    let running = Running::start("hyper", command, &folder)?.listening(plain)?;
    Ok(Proxy { name: "hyper alone", running, plain, unbuffered: None, ecdsa: None, rsa: None, admin: None, folder })
}

/// The login service on Express, with so many users.
pub fn express(bench: &Bench, cores: &str, users: u64, password: &str) -> Outcome<(Running, SocketAddr)> {
    let installed = bench.built.join("compare/express");
    fs::copy(bench.here.join("express/service.js"), installed.join("service.js"))?;
    let folder = bench.subfolder("express")?;
    let port = free_port()?;
    let mut command = on_cores(cores, Path::new("node"));
    command.arg(installed.join("service.js"));
    command.env("NODE_ENV", "production").env("PORT", port.to_string()).env("DB", folder.join("users.sqlite"));
    command.env("USERS", users.to_string()).env("PASSWORD", password);
    Ok((Running::start("express", command, &folder)?.listening(local(port))?, local(port)))
}

/// A P-256 and an RSA certificate for 127.0.0.1, made once a run.
fn certificates(bench: &Bench) -> Outcome<PathBuf> {
    let folder = bench.folder.join("certificates");
    if folder.join("rsa.pem").exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)?;
    let kinds: [(&str, &[&str]); 2] =
        [("ecdsa", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]), ("rsa", &["-newkey", "rsa:2048"])];
    for (name, kind) in kinds {
        let file = |extension: &str| folder.join(format!("{name}.{extension}")).display().to_string();
        let (key, certificate) = (file("key"), file("pem"));
        let mut arguments = vec!["req", "-x509", "-nodes", "-sha256", "-days", "2", "-subj", "/CN=compare"];
        arguments.extend(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
        arguments.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
        arguments.extend(kind);
        arguments.extend(["-keyout", &key, "-out", &certificate]);
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        output(&bench.cores.all, "openssl", &arguments, std::time::Duration::from_secs(30))?;
    }
    Ok(folder)
}

/// The certificate that clients trust.
pub fn trusted(bench: &Bench, name: &str) -> Outcome<Vec<u8>> {
    Ok(fs::read(certificates(bench)?.join(format!("{name}.pem")))?)
}

/// How many files a process may open.
pub fn files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_filled_in_whole_or_not_at_all() {
        let text = "# @NAMES@ are filled in\nlisten @PORT@;\nmail a@b.example;\n";
        let whole = filled(text, &[("PORT", "80".to_owned())]).unwrap();
        assert!(whole.contains("listen 80;\n"), "{whole}");
        assert!(filled(text, &[]).unwrap_err().to_string().contains("@PORT@"));
    }
}
