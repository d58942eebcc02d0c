//! Configurations that are chosen by name.

/// Lets an enum that derives serde with `tag = "kind", remote = "Self"` be written as its bare name too, with
/// the defaults of that kind, in files (`"always"`) and on the command line ([`std::str::FromStr`]). `number`
/// says what a bare number means.
macro_rules! chosen_by_name {
    ($type:ty, $what:literal $(, number: $from_number:expr)?) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$type>::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct NameOrTable;

                impl<'de> serde::de::Visitor<'de> for NameOrTable {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("the name of a ", $what, " or a table with its `kind`"))
                    }

                    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<$type, E> {
                        let table = std::iter::once(("kind", name));
                        <$type>::deserialize(serde::de::value::MapDeserializer::new(table))
                    }

                    $(
                        fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<$type, E> {
                            Ok($from_number(number))
                        }

                        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$type, E> {
                            Ok($from_number(number as f64))
                        }

                        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$type, E> {
                            Ok($from_number(number as f64))
                        }
                    )?

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<$type, A::Error> {
                        <$type>::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    }
                }

                deserializer.deserialize_any(NameOrTable)
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::FuseError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let table = std::iter::once(("kind", name));
                let table = serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(table);
                <$type>::deserialize(table)
                    .map_err(|error| crate::FuseError::UnknownName(format!("{}: {error}", $what)))
            }
        }
    };
}

pub(crate) use chosen_by_name;
