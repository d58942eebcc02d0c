//! A user as one file, out and in.

use std::{
    io::{self, Read},
    ops::ControlFlow,
};

use spring_core::{
    Store,
    spring_lm::{Adapter, ModelError},
    spring_memory::UserId,
};
use spring_serve::{Export, Imported, ServiceError, ServiceResult};

use super::{archive, refusal};

/// The largest archive of a user that is taken in.
const LARGEST: u64 = 4 << 30;

pub fn export(store: &Store, user: &UserId) -> ServiceResult<Export> {
    let folder = tempfile::tempdir().map_err(failed)?;
    let inner = folder.path().join("user");
    let mut go_on = |_: u64| ControlFlow::<()>::Continue(());
    store.export(user, &inner, &mut go_on).map_err(refusal::of_store)?;
    let archive = archive::pack(&inner).map_err(failed)?;
    Ok(Export { media_type: "application/zip", extension: ".zip", bytes: Box::new(archive) })
}

/// Takes in an archive whose adapters fit the model.
pub fn import(
    store: &Store,
    user: &UserId,
    bytes: &mut dyn Read,
    fits: &dyn Fn(&Adapter) -> Result<(), ModelError>,
) -> ServiceResult<Imported> {
    let mut archive = tempfile::tempfile().map_err(failed)?;
    let length = io::copy(&mut bytes.take(LARGEST + 1), &mut archive).map_err(failed)?;
    if length > LARGEST {
        return Err(unusable(format!("the archive is larger than {LARGEST} bytes")));
    }
    let folder = tempfile::tempdir().map_err(failed)?;
    let inner = folder.path().join("user");
    archive::unpack(archive, &inner).map_err(unusable)?;
    archive::check_user(&inner, user).map_err(unusable)?;
    let mut go_on = |_: u64| ControlFlow::<()>::Continue(());
    let imported = store.import(&inner, fits, &mut go_on);
    let imported = imported.map_err(|error| match refusal::of_store(error) {
        // What is wrong with the folder is wrong with what was sent; where it lay is nobody's.
        ServiceError::Internal(message) => {
            unusable(message.replace(&format!("{}/", inner.display()), ""))
        }
        other => other,
    })?;
    Ok(Imported {
        interactions: imported.interactions,
        generations: imported.generations,
        answers: imported.answers,
    })
}

fn failed(error: io::Error) -> ServiceError {
    ServiceError::internal(&error)
}

fn unusable(message: String) -> ServiceError {
    ServiceError::Invalid { param: None, message }
}
