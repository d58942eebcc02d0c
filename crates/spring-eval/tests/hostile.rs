//! Suites that broke on their way: no panic, and an error that names the file.

#![allow(clippy::unwrap_used)]

use proptest::{prelude::*, sample::Index};
use spring_eval::Suite;

/// One change to some bytes: a byte replaced, the end cut off, a piece repeated, or noise put in.
#[derive(Debug, Clone)]
enum Damage {
    Byte(Index, u8),
    Cut(Index),
    Repeat(Index, Index),
    Noise(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, noise)| Damage::Noise(at, noise)),
    ]
}

impl Damage {
    fn of(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.is_empty() {
            return bytes;
        }
        let len = bytes.len();
        match self {
            Self::Byte(at, byte) => bytes[at.index(len)] = *byte,
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::Repeat(from, to) => {
                let piece = bytes[from.index(len)..].to_vec();
                let at = to.index(len);
                bytes.splice(at..at, piece);
            }
            Self::Noise(at, noise) => {
                drop(bytes.splice(at.index(len)..at.index(len), noise.iter().copied()))
            }
        }
        bytes
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_suites(changes in prop::collection::vec(damage(), 1..4)) {
        let docs = std::fs::read("tests/suites/main.toml").unwrap();
        let bytes = changes.iter().fold(docs, |bytes, change| change.of(bytes));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.toml");
        std::fs::write(&path, bytes).unwrap();
        if let Err(error) = Suite::load(&path) {
            prop_assert!(error.to_string().contains("f.toml"), "{}", error);
        }
    }
}
