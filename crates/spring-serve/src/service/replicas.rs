//! Several servers on one state, and which of them is asked for whom.

use axum::http::{HeaderValue, Uri};
use spring_numerics::key::split;
use thiserror::Error;

use super::access::digest;

/// What part of the mean load one server may have before others are asked for some of its users.
const BOUND: f64 = 1.25;

/// A server that is there and ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    /// The address under which it is reached, as [`advertised`] gives it.
    pub url: String,
    /// What it has to do, as a part of what it can do at once: 0 for nothing, above 1 where
    /// requests wait.
    pub load: f64,
}

/// Why an address is not one under which a server can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{url:?} is not the address of a server: {reason}; give one such as http://10.0.0.5:8080")]
pub struct AddressError {
    url: String,
    reason: &'static str,
}

/// An address as it is told to proxies: `http` or `https`, a host, perhaps a port and a path, and
/// no slash at its end.
///
/// # Errors
///
/// It is something else, or has a password, which every client would be told.
///
/// ```
/// assert_eq!(spring_serve::advertised("http://10.0.0.5:8080/").unwrap(), "http://10.0.0.5:8080");
/// assert!(spring_serve::advertised("10.0.0.5:8080").is_err());
/// ```
pub fn advertised(url: &str) -> Result<String, AddressError> {
    let refuse = |reason| Err(AddressError { url: url.into(), reason });
    let Ok(parsed) = url.parse::<Uri>() else { return refuse("it is not a URL") };
    if !matches!(parsed.scheme_str(), Some("http" | "https")) {
        return refuse("it does not begin with http:// or https://");
    }
    let Some(authority) = parsed.authority().filter(|authority| !authority.host().is_empty())
    else {
        return refuse("it has no host");
    };
    if authority.as_str().contains('@') {
        return refuse("it has a user or a password, which clients would be told");
    }
    // A port that is not a number, or is too large, is not refused by the parser.
    let rest = authority.as_str().get(authority.host().len()..).unwrap_or_default();
    let port = rest.strip_prefix(':').and_then(|port| port.parse::<u16>().ok());
    if !rest.is_empty() && port.is_none_or(|port| port == 0) {
        return refuse("its port is not a number from 1 to 65535");
    }
    if parsed.query().is_some() || url.contains('#') {
        return refuse("it has more than a path");
    }
    let url = url.trim_end_matches('/');
    match HeaderValue::from_str(url) {
        Ok(_) => Ok(url.into()),
        Err(_) => refuse("it cannot stand in a header"),
    }
}

/// The servers of one state that are ready, and which of them is warm for whom.
///
/// It is rendezvous hashing (highest random weight; Thaler and Ravishankar 1998): every server has
/// a weight for every user, and a user's is the one with the largest. When a server goes, its users
/// alone move; when one comes, it takes its share of all others' and nobody else moves. The weights
/// depend on the two names alone, so all servers say the same as long as they see the same list.
#[derive(Debug, Clone, PartialEq)]
pub struct Replicas {
    own: String,
    all: Vec<Weighed>,
    /// The largest load with which a server is still asked for its own users.
    bound: f64,
}

#[derive(Debug, Clone, PartialEq)]
struct Weighed {
    url: String,
    load: f64,
    /// Of its address.
    hash: u64,
}

/// Which server is to be asked for a user, and which one if that one does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'r> {
    /// The one to be asked.
    pub replica: &'r str,
    /// The next one; `None` where there is no other.
    pub second: Option<&'r str>,
}

impl Replicas {
    /// Those of a list, as the server of the address `own` sees them.
    pub fn new(own: impl Into<String>, all: impl IntoIterator<Item = Replica>) -> Self {
        let weighed = |Replica { url, load }| {
            // What is not a number would be neither above nor below any bound.
            let load = if load.is_nan() { 0.0 } else { load };
            let hash = digest(url.as_bytes());
            Weighed { url, load, hash }
        };
        let all: Vec<Weighed> = all.into_iter().map(weighed).collect();
        let mean = all.iter().map(|replica| replica.load).sum::<f64>() / all.len().max(1) as f64;
        // Who can begin at once with what is asked is not too busy, whatever the others do.
        Self { own: own.into(), all, bound: (BOUND * mean).max(1.0) }
    }

    /// Which server is to be asked for a user; `None` where there is none at all.
    ///
    /// The first by weight, unless its load is above a bound (1.25 times the mean of all, and more
    /// than it can do at once) and the second's is smaller. Nobody is sent further than to the
    /// second, so that a user's adapter and prefixes are kept by two servers at most.
    pub fn choose(&self, user: &str) -> Option<Choice<'_>> {
        let user = digest(user.as_bytes());
        // Equal weights, of which none is known, are told apart by the address.
        let rank = |one: &&Weighed, other: &&Weighed| {
            let weights = [one, other].map(|replica| split(replica.hash ^ user, 0));
            weights[0].cmp(&weights[1]).then_with(|| one.url.cmp(&other.url))
        };
        let first = self.all.iter().max_by(rank)?;
        let second = self.all.iter().filter(|replica| replica.url != first.url).max_by(rank);
        let Some(second) = second else {
            return Some(Choice { replica: &first.url, second: None });
        };
        let (first, second) = match first.load > self.bound && second.load < first.load {
            true => (second, first),
            false => (first, second),
        };
        Some(Choice { replica: &first.url, second: Some(&second.url) })
    }

    /// Which server is to be asked for nobody in particular: the one that was asked, so that they
    /// share the work as whoever asks them does; the one with the least to do if it is not ready.
    pub fn any(&self) -> Option<&str> {
        let own = self.all.iter().find(|replica| replica.url == self.own);
        let least = || self.all.iter().min_by(|one, other| one.load.total_cmp(&other.load));
        own.or_else(least).map(|replica| replica.url.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const USERS: usize = 10_000;

    fn urls(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("http://10.0.0.{i}:8080")).collect()
    }

    fn idle(urls: &[String]) -> Replicas {
        loaded(urls.iter().map(|url| (url.as_str(), 0.0)))
    }

    fn loaded<'u>(of: impl IntoIterator<Item = (&'u str, f64)>) -> Replicas {
        Replicas::new("", of.into_iter().map(|(url, load)| Replica { url: url.into(), load }))
    }

    fn user(i: usize) -> String {
        format!("user-{i}")
    }

    fn first<'r>(replicas: &'r Replicas, user: &str) -> &'r str {
        replicas.choose(user).unwrap().replica
    }

    #[test]
    fn the_weights_are_those_of_every_version() {
        // Servers of two versions on one state would send users to and fro.
        let replicas = idle(&urls(5));
        let chosen: Vec<_> = ["ada", "bob", "", "Zoë", "a/b"].map(|u| first(&replicas, u)).into();
        // By another program, from the description in docs/formats.md.
        let expected = [3, 1, 3, 4, 3];
        assert_eq!(chosen, expected.map(|last| format!("http://10.0.0.{last}:8080")));
    }

    #[test]
    fn when_a_server_goes_its_users_alone_move_and_to_their_second() {
        for count in [2, 3, 7] {
            let urls = urls(count);
            let all = idle(&urls);
            for gone in &urls {
                let left: Vec<String> = urls.iter().filter(|url| *url != gone).cloned().collect();
                let left = idle(&left);
                for user in (0..1000).map(user) {
                    let before = all.choose(&user).unwrap();
                    let after = first(&left, &user);
                    match before.replica == gone {
                        true => assert_eq!(Some(after), before.second, "{user}"),
                        false => assert_eq!(after, before.replica, "{user}"),
                    }
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_count() {
        let mut urls = urls(6);
        let one = idle(&urls);
        urls.reverse();
        let other = idle(&urls);
        for user in (0..1000).map(user) {
            assert_eq!(one.choose(&user), other.choose(&user));
        }
    }

    #[test]
    fn users_are_spread_evenly() {
        for count in [2, 3, 5, 16] {
            let replicas = idle(&urls(count));
            let mut firsts: BTreeMap<&str, usize> = BTreeMap::new();
            // Of the users of each, where they would go without it.
            let mut seconds: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            let names: Vec<String> = (0..USERS).map(user).collect();
            for user in &names {
                let Choice { replica, second } = replicas.choose(user).unwrap();
                *firsts.entry(replica).or_default() += 1;
                *seconds.entry((replica, second.unwrap())).or_default() += 1;
            }
            // Five standard deviations of a fair draw.
            let is_fair = |found: usize, of: usize, among: usize| {
                let share = 1.0 / among as f64;
                let mean = of as f64 * share;
                (found as f64 - mean).abs() <= 5.0 * (mean * (1.0 - share)).sqrt()
            };
            assert_eq!((firsts.len(), seconds.len()), (count, count * (count - 1)));
            assert!(firsts.values().all(|found| is_fair(*found, USERS, count)), "{firsts:?}");
            if count > 2 {
                for ((from, to), found) in &seconds {
                    assert!(is_fair(*found, firsts[from], count - 1), "{from} to {to}: {found}");
                }
            }
        }
    }

    #[test]
    fn who_is_over_the_bound_gives_its_users_to_their_second_and_no_further() {
        let urls = urls(4);
        let calm = idle(&urls);
        // The mean is 2, so the bound 2.5.
        let busy = urls[0].as_str();
        let uneven =
            loaded(urls.iter().map(|url| (url.as_str(), if url == busy { 5.0 } else { 1.0 })));
        for user in (0..1000).map(user) {
            let usual = calm.choose(&user).unwrap();
            let found = uneven.choose(&user).unwrap();
            match usual.replica == busy {
                true => {
                    assert_eq!(Some(found.replica), usual.second);
                    assert_eq!(found.second, Some(usual.replica));
                }
                false => assert_eq!(found, usual),
            }
        }
    }

    #[test]
    fn a_busy_server_keeps_its_users_while_it_is_not_above_the_others() {
        let urls = urls(3);
        let calm = idle(&urls);
        let (a, b, c) = (urls[0].as_str(), urls[1].as_str(), urls[2].as_str());
        for loads in [
            // All alike; just below the bound; still room; a second that is busier still.
            [(a, 9.0), (b, 9.0), (c, 9.0)],
            [(a, 1.25), (b, 1.0), (c, 1.0)],
            [(a, 1.0), (b, 0.0), (c, 0.0)],
            [(a, f64::NAN), (b, 0.5), (c, 0.0)],
        ] {
            let loaded = loaded(loads);
            for user in (0..300).map(user) {
                assert_eq!(loaded.choose(&user), calm.choose(&user), "{loads:?}");
            }
        }
        let both = loaded([(a, 8.0), (b, 9.0), (c, 0.0)]);
        for user in (0..300).map(user) {
            let Choice { replica, second } = calm.choose(&user).unwrap();
            let expected = match (replica, second) {
                // Both are over it: the less busy of the two, never the third.
                (one, Some(other)) if one != c && other != c => a,
                (one, Some(_)) if one != c => c,
                _ => c,
            };
            assert_eq!(first(&both, &user), expected, "{user}");
        }
    }

    #[test]
    fn one_alone_has_no_second_and_none_is_none() {
        let one = loaded([("http://a", 100.0)]);
        assert_eq!(one.choose("ada"), Some(Choice { replica: "http://a", second: None }));
        assert_eq!(loaded([]).choose("ada"), None);
        assert_eq!(loaded([]).any(), None);
    }

    #[test]
    fn nobody_in_particular_is_answered_by_the_one_that_was_asked() {
        let all = ["http://a", "http://b"].map(|url| Replica { url: url.into(), load: 1.0 });
        assert_eq!(Replicas::new("http://b", all.clone()).any(), Some("http://b"));
        let [a, mut b] = all;
        b.load = 0.5;
        assert_eq!(Replicas::new("http://draining", [a, b]).any(), Some("http://b"));
    }

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_no_secret() {
        for (given, told) in [
            ("http://10.0.0.5:8080", "http://10.0.0.5:8080"),
            ("https://a.example.org/", "https://a.example.org"),
            ("http://[fd00::5]:8080/", "http://[fd00::5]:8080"),
            ("http://gate.example.org/spring/a/", "http://gate.example.org/spring/a"),
        ] {
            assert_eq!(advertised(given).as_deref(), Ok(told));
        }
        for (given, reason) in [
            ("", "not a URL"),
            ("10.0.0.5:8080", "begin with http"),
            ("ftp://a", "begin with http"),
            ("/route", "begin with http"),
            ("http://", "not a URL"),
            ("http://:8080", "no host"),
            ("http://a b", "not a URL"),
            ("http://a\nb", "not a URL"),
            ("http://ada:secret@a", "password"),
            ("http://a:99999", "port"),
            ("http://a:0", "port"),
            ("http://a?x=1", "more than a path"),
            ("http://a/#x", "more than a path"),
        ] {
            let error = advertised(given).unwrap_err().to_string();
            assert!(error.contains(reason), "{given:?}: {error}");
        }
    }
}
