//! Where a database is: `postgres://user:password@host:port/database?schema=…`.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use tokio_postgres::config::{Host, SslMode};

use crate::{Error, Result};

/// The schema that a state is in unless its address says otherwise.
const SCHEMA: &str = "spring";

/// How long a connection may take to be made, unless the address says otherwise.
const CONNECT: Duration = Duration::from_secs(10);

/// How soon it shows that the other side is gone, while nothing is sent and while something is.
const SILENCE: Duration = Duration::from_secs(30);

/// The address of a state in a PostgreSQL database.
///
/// It is a URL as PostgreSQL's own programs take them, with its parameters (`sslmode`,
/// `sslrootcert`, `connect_timeout`, `application_name` and others) and one more, `schema`: the
/// schema that the tables are in, `spring` by default. Without a password in it, that of the
/// environment variable `PGPASSWORD` is used. No message shows the password.
#[derive(Clone)]
pub struct Address {
    pub(super) label: String,
    pub(super) schema: String,
    pub(super) config: tokio_postgres::Config,
    pub(super) trust: Trust,
}

/// Of which server a certificate is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// Of any: the connection is encrypted, and who is at its other end is not known.
    Any,
    /// Of one that an authority vouches for.
    Authority {
        /// Whether the certificate must be of this host.
        host: bool,
        /// The authorities, in PEM; `None` for the public ones.
        roots: Option<PathBuf>,
    },
}

impl Address {
    /// Whether a text is meant as such an address.
    pub fn is_one(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }

    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`Error::State`] with what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text, std::env::var("PGPASSWORD").ok()).map_err(|reason| Error::State {
            state: Self::shown(text),
            reason: format!(
                "{reason}; an address is postgres://USER@HOST:PORT/DATABASE, with characters such \
                 as @ : / ? in a name or password written as %40 %3A %2F %3F"
            ),
        })
    }

    /// What messages show of an address, whether or not it can be read: never the password.
    pub fn shown(text: &str) -> String {
        match Self::read(text, None) {
            Ok(address) => address.label,
            Err(_) => "postgres://…".into(),
        }
    }

    fn read(text: &str, password: Option<String>) -> Result<Self, String> {
        if !Self::is_one(text) {
            return Err("not an address of PostgreSQL".into());
        }
        let (place, parameters) = text.split_once('?').unwrap_or((text, ""));
        // Else a part of a password would be told as the name of a parameter.
        if place.contains('#') || parameters.contains('@') {
            return Err("it has a # or ? before its @".into());
        }
        let mut schema = SCHEMA.to_owned();
        let (mut roots, mut mode) = (None, None);
        let mut handed_on = Vec::new();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match key {
                "schema" => schema = decoded(value)?,
                "sslrootcert" => roots = Some(decoded(value)?),
                "sslmode" => mode = Some(decoded(value)?),
                _ => handed_on.push(parameter),
            }
        }
        let roots = roots.filter(|roots| roots != "system").map(PathBuf::from);
        let (ssl, trust) = match mode.as_deref().unwrap_or("prefer") {
            "disable" => (SslMode::Disable, Trust::Any),
            "allow" | "prefer" => (SslMode::Prefer, Trust::Any),
            // As libpq has it: who names authorities wants them asked.
            "require" if roots.is_none() => (SslMode::Require, Trust::Any),
            "require" | "verify-ca" => (SslMode::Require, Trust::Authority { host: false, roots }),
            "verify-full" => (SslMode::Require, Trust::Authority { host: true, roots }),
            _ => {
                return Err("sslmode is one of disable, prefer, require, verify-ca and \
                            verify-full"
                    .into());
            }
        };
        if schema.is_empty() || schema.len() > 63 || schema.contains(['\0', '"', '\\']) {
            return Err("schema names a schema by at most 63 bytes".into());
        }
        if schema.starts_with("pg_") {
            return Err("schemas that begin with pg_ are PostgreSQL's own".into());
        }
        let rest = match handed_on.is_empty() {
            true => place.to_owned(),
            false => format!("{place}?{}", handed_on.join("&")),
        };
        let mut config = tokio_postgres::Config::from_str(&rest).map_err(|error| {
            use std::error::Error as _;
            // It names parameters, not their values.
            error.source().map_or_else(|| error.to_string(), ToString::to_string)
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("it names no host".into());
        }
        config.ssl_mode(ssl);
        if config.get_password().is_none()
            && let Some(password) = password
        {
            config.password(password);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("spring");
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        config.keepalives_idle(SILENCE);
        config.keepalives_interval(SILENCE / 3);
        config.keepalives_retries(3);
        Ok(Self { label: label(&config, &schema), schema, config, trust })
    }
}

/// Everything but the password.
fn label(config: &tokio_postgres::Config, schema: &str) -> String {
    let mut label = String::from("postgres://");
    if let Some(user) = config.get_user() {
        label += &format!("{}@", user.escape_debug());
    }
    let ports = config.get_ports();
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| match host {
        Host::Tcp(host) => format!("{}:{}", host.escape_debug(), port(at)),
        #[cfg(unix)]
        Host::Unix(folder) => format!("{}:{}", folder.display(), port(at)),
    });
    label += &hosts.collect::<Vec<_>>().join(",");
    if let Some(name) = config.get_dbname() {
        label += &format!("/{}", name.escape_debug());
    }
    if schema != SCHEMA {
        label += &format!("?schema={}", schema.escape_debug());
    }
    label
}

/// The text that percent signs stand for.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = || "a % stands before two hexadecimal digits".to_owned();
        bytes.push(match byte {
            b'%' => {
                let two = [rest.next().ok_or_else(digits)?, rest.next().ok_or_else(digits)?];
                let two = str::from_utf8(&two).map_err(|_| digits())?;
                u8::from_str_radix(two, 16).map_err(|_| digits())?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "a parameter is not UTF-8".into())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.label).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let text = "postgres://ada:s3cr%40t@db.example:6432/people?sslmode=require&schema=my%20s";
        let address = Address::read(text, None).unwrap();
        assert_eq!(address.to_string(), "postgres://ada@db.example:6432/people?schema=my s");
        assert_eq!(address.config.get_password(), Some(b"s3cr@t".as_slice()));
        assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(address.trust, Trust::Any);
        assert!(!format!("{address:?}").contains("s3cr"));
        for unread in [
            "postgres://ada:s3cr@db:5432:1/x",
            "postgres://ada:x?s3cr=1@db/x",
            "postgres://ada:s3cr@h:0x/d?schema=%",
        ] {
            let said = Address::parse(unread).unwrap_err().to_string();
            assert!(!said.contains("s3cr") && !said.contains('\n'), "{said}");
            assert!(!Address::shown(unread).contains("s3cr"));
        }
    }

    #[test]
    fn who_names_authorities_wants_them_asked() {
        let trust =
            |rest: &str| Address::read(&format!("postgres://h/d?{rest}"), None).map(|a| a.trust);
        let roots = || Some(PathBuf::from("/ca.pem"));
        assert_eq!(trust("").unwrap(), Trust::Any);
        let authority = |host, roots| Trust::Authority { host, roots };
        assert_eq!(
            trust("sslmode=require&sslrootcert=/ca.pem").unwrap(),
            authority(false, roots())
        );
        assert_eq!(trust("sslmode=verify-full").unwrap(), authority(true, None));
        assert_eq!(
            trust("sslrootcert=/ca.pem&sslmode=verify-ca").unwrap(),
            authority(false, roots())
        );
        assert!(trust("sslmode=sometimes").unwrap_err().contains("sslmode is one of"));
    }

    #[test]
    fn a_password_of_the_environment_is_used_where_the_address_has_none() {
        let password = |text: &str| {
            let address = Address::read(text, Some("of the environment".into())).unwrap();
            String::from_utf8(address.config.get_password().unwrap().to_owned()).unwrap()
        };
        assert_eq!(password("postgres://ada@h/d"), "of the environment");
        assert_eq!(password("postgres://ada:own@h/d"), "own");
    }
}
