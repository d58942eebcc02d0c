//! Which adapters are on the device: one copy of each, for as long as something uses it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use burn::tensor::backend::Backend;

use crate::{Adapter, AdapterHash, CausalLm, Lora, ModelBackend, Result};

/// The adapters that are on a model's device.
pub(crate) struct Residency<B: Backend>(Mutex<Resident<B>>);

struct Resident<B: Backend> {
    /// By the address of a handle. What a handle holds cannot change, nor its address be given
    /// away, while a weak handle is kept here: so it is read only once.
    hashes: HashMap<usize, (Weak<Adapter>, AdapterHash)>,
    copies: HashMap<AdapterHash, Weak<Lora<B>>>,
}

impl<B: Backend> Default for Residency<B> {
    fn default() -> Self {
        Self(Mutex::new(Resident { hashes: HashMap::new(), copies: HashMap::new() }))
    }
}

impl<B: Backend> fmt::Debug for Residency<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Residency").finish_non_exhaustive()
    }
}

impl<B: ModelBackend> CausalLm<B> {
    /// The device's copy of an adapter: made once for all handles of the same content, and dropped
    /// with its last user.
    ///
    /// # Errors
    ///
    /// [`ModelError::Adapter`](crate::ModelError::Adapter) if it does not fit the model.
    pub fn resident(&self, adapter: &Arc<Adapter>) -> Result<Arc<Lora<B>>> {
        // Held while a copy is made, so that two who need the same one do not make two. Whatever
        // panicked meanwhile left nothing half done.
        let mut resident = self.residency.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Resident { hashes, copies } = &mut *resident;
        let address = Arc::as_ptr(adapter) as usize;
        let hash = match hashes.get(&address) {
            Some((_, hash)) => *hash,
            None => AdapterHash::of(adapter),
        };
        if let Some(copy) = copies.get(&hash).and_then(Weak::upgrade) {
            hashes.entry(address).or_insert_with(|| (Arc::downgrade(adapter), hash));
            return Ok(copy);
        }
        let copy = Arc::new(self.attach(adapter)?);
        hashes.retain(|_, (handle, _)| handle.strong_count() > 0);
        copies.retain(|_, copy| copy.strong_count() > 0);
        hashes.insert(address, (Arc::downgrade(adapter), hash));
        copies.insert(hash, Arc::downgrade(&copy));
        Ok(copy)
    }
}
