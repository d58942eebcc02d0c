//! The base that people's models stand on.

use std::{fmt, ops::Deref, sync::Arc};

use crate::{Error, LanguageModel, Result, Settings, Store};

/// A base model: borrowed for a while, or shared by all who hold it, such as the people that a
/// server answers.
#[derive(Clone)]
#[non_exhaustive]
pub enum Base<'m> {
    /// Somebody else keeps it.
    Borrowed(&'m dyn LanguageModel),
    /// It is kept as long as somebody holds it.
    Shared(Arc<dyn LanguageModel>),
}

impl<'m> Deref for Base<'m> {
    type Target = dyn LanguageModel + 'm;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Borrowed(model) => *model,
            Self::Shared(model) => model.as_ref(),
        }
    }
}

impl<'m, M: LanguageModel> From<&'m M> for Base<'m> {
    fn from(model: &'m M) -> Self {
        Self::Borrowed(model)
    }
}

impl<'m> From<&'m dyn LanguageModel> for Base<'m> {
    fn from(model: &'m dyn LanguageModel) -> Self {
        Self::Borrowed(model)
    }
}

impl<M: LanguageModel + 'static> From<Arc<M>> for Base<'_> {
    fn from(model: Arc<M>) -> Self {
        Self::Shared(model)
    }
}

impl fmt::Debug for Base<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Base").field(self.info()).finish()
    }
}

/// Refuses a model that a state was not made for.
///
/// # Errors
///
/// [`Error::OtherBase`] if base or tokenizer are others.
pub fn check_base(model: &dyn LanguageModel, store: &Store) -> Result<()> {
    check_fingerprint(model, store.settings(), store.backend().label())
}

pub(crate) fn check_fingerprint(
    model: &dyn LanguageModel,
    settings: &Settings,
    state: &str,
) -> Result<()> {
    let found = &model.info().fingerprint;
    if *found == settings.fingerprint {
        return Ok(());
    }
    let (model, expected) = (settings.model.clone(), settings.fingerprint.clone());
    Err(Error::OtherBase { state: state.into(), model, expected, found: found.clone() })
}
