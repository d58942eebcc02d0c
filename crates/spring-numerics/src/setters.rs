//! Setters of settings.

/// Declares `with_…` methods: each takes the settings and returns them with one changed.
///
/// ```
/// /// How much.
/// #[derive(Debug, Default)]
/// #[non_exhaustive]
/// pub struct Amounts {
///     /// Of the first.
///     pub first: u32,
///     /// Of the second.
///     pub second: Option<u32>,
/// }
/// spring_numerics::setters! {
///     Amounts {
///         with_first(first: u32);
///         with_second(second: Option<u32>);
///     }
/// }
/// assert_eq!(Amounts::default().with_first(3).first, 3);
/// ```
#[macro_export]
macro_rules! setters {
    ($type:ty { $($setter:ident($field:ident: $value:ty);)+ }) => {
        impl $type {
            $(
                #[doc = concat!(
                    "The same with another [`", stringify!($field), "`](Self::",
                    stringify!($field), ").",
                )]
                #[must_use]
                pub fn $setter(mut self, $field: $value) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}
