//! Configurations that are chosen by name.

/// Lets an enum that derives serde with `tag = "kind", remote = "Self"` be written as its bare name
/// too, with the defaults of that kind, in files (`"recency"`) and on the command line
/// ([`std::str::FromStr`], whose error is a [`SettingError`](crate::SettingError)). `number` says
/// what a bare number means. The crate that uses it needs serde with `derive`.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
/// enum Order {
///     Newest {},
///     Random {
///         #[serde(default)]
///         seed: u64,
///     },
/// }
/// spring_numerics::chosen_by_name!(Order, "order");
///
/// assert_eq!("random".parse(), Ok(Order::Random { seed: 0 }));
/// let error = "oldest".parse::<Order>().unwrap_err();
/// assert_eq!(error.to_string(), "order = oldest is not allowed: it must be newest or random");
/// ```
#[macro_export]
macro_rules! chosen_by_name {
    ($type:ty, $what:literal $(, number: $from_number:expr)?) => {
        impl $crate::__serde::Serialize for $type {
            fn serialize<S: $crate::__serde::Serializer>(
                &self,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                <$type>::serialize(self, serializer)
            }
        }

        impl<'de> $crate::__serde::Deserialize<'de> for $type {
            fn deserialize<D: $crate::__serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                use $crate::__serde::de::{
                    Error, MapAccess, Visitor,
                    value::{MapAccessDeserializer, MapDeserializer},
                };

                struct NameOrTable;

                impl<'de> Visitor<'de> for NameOrTable {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("the name of a ", $what, " or a table with its `kind`"))
                    }

                    fn visit_str<E: Error>(self, name: &str) -> Result<$type, E> {
                        let table = std::iter::once(("kind", name));
                        <$type>::deserialize(MapDeserializer::new(table))
                    }

                    $(
                        fn visit_f64<E: Error>(self, number: f64) -> Result<$type, E> {
                            Ok($from_number(number))
                        }

                        fn visit_u64<E: Error>(self, number: u64) -> Result<$type, E> {
                            Ok($from_number(number as f64))
                        }

                        fn visit_i64<E: Error>(self, number: i64) -> Result<$type, E> {
                            Ok($from_number(number as f64))
                        }
                    )?

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$type, A::Error> {
                        <$type>::deserialize(MapAccessDeserializer::new(map))
                    }
                }

                deserializer.deserialize_any(NameOrTable)
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::SettingError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let table = std::iter::once(("kind", name));
                let table = $crate::__serde::de::value::MapDeserializer::new(table);
                <$type>::deserialize(table)
                    .map_err(|error: $crate::setting::NameError| error.about($what, name))
            }
        }
    };
}
