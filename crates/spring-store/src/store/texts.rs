//! A user's texts, and what is computed once of each: embeddings, and the graph over them.

use spring_memory::{GraphStamp, InteractionId, UserId};

use super::{
    Store,
    encode::{from_json, stored, to_json},
    no_interaction,
    version::{check_removals, version},
};
use crate::{
    EmbeddingMap, Error, GraphPlace, History, HistoryEntry, Member, Result, StoredInteraction,
    UserVersion,
    backend::{Backend, Durability, Fault, Outcome, Rows, Text, Texts, UserRow},
};

impl<B: Backend + ?Sized> Store<B> {
    /// Interactions in no period yet, ordered by (time, sequence).
    pub fn pending(&self, user: &UserId) -> Result<Vec<StoredInteraction>> {
        self.read_user(user, |rows, row| self.texts(rows, user, row, Texts::Pending))
    }

    /// The members of a period, ordered by (time, sequence).
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecord`] if there is no such period.
    pub fn members(&self, user: &UserId, period: u32) -> Result<Vec<Member>> {
        self.read_user(user, |rows, row| {
            super::periods::check(rows, user, row.key, period)?;
            let mut members = Vec::new();
            self.each_text(rows, user, row, Texts::Period(period), |stored, place| {
                let held_out = place.is_some_and(|(_, held_out)| held_out);
                members.push(Member { stored, held_out });
            })?;
            Ok(members)
        })
    }

    /// Interactions by sequence number, in the order asked for.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if this user has no interaction of such a number.
    pub fn interactions(&self, user: &UserId, seqs: &[u64]) -> Result<Vec<StoredInteraction>> {
        self.read_user(user, |rows, row| self.texts_by_seq(rows, user, row, seqs))
    }

    /// All interactions of a user, held-out ones too, ordered by (time, sequence).
    pub fn history(&self, user: &UserId) -> Result<History> {
        self.read_user(user, |rows, row| {
            let mut entries = Vec::new();
            self.each_text(rows, user, row, Texts::ByTime, |stored, place| {
                let (period, held_out) = (place.map(|place| place.0), place.is_some_and(|p| p.1));
                entries.push(HistoryEntry { stored, period, held_out });
            })?;
            Ok(History { version: version(rows, user, row)?, entries })
        })
    }

    /// Whether the user has an interaction of that id, and its sequence number.
    pub fn find(&self, user: &UserId, id: &InteractionId) -> Result<Option<u64>> {
        self.read_user(user, |rows, row| {
            Ok(rows.interaction(row.key, Text::Id(id.as_str()))?.map(|found| found.seq))
        })
    }

    /// The period that an interaction is in, and whether it is held out there; `None` if it is in
    /// none.
    pub fn place(&self, user: &UserId, seq: u64) -> Result<Option<(u32, bool)>> {
        self.read_user(user, |rows, row| {
            Ok(rows.interaction(row.key, Text::Seq(seq))?.and_then(|found| found.place))
        })
    }

    /// The embeddings under the state's base that are kept of some interactions.
    pub fn embeddings(&self, user: &UserId, seqs: &[u64]) -> Result<EmbeddingMap> {
        self.read_user(user, |rows, row| self.known_embeddings(rows, row, seqs))
    }

    /// Keeps embeddings under the state's base. They go with their interaction and are no part of
    /// an export.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if this user has no interaction of such a number, and [`Error::Outdated`]
    /// if a text of the user was removed since `version`.
    pub fn set_embeddings(&self, version: &UserVersion, embeddings: &EmbeddingMap) -> Result<()> {
        let (user, base) = (&version.user, &self.settings.fingerprint);
        self.write_user(Durability::Power, user, |rows, row| {
            check_removals(version, row)?;
            for (&seq, vector) in embeddings {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                if vector_of(&bytes).is_none() {
                    let reason = format!(
                        "nothing was changed: the embedding of interaction {seq} is empty or not \
                         finite"
                    );
                    return Err(Fault::Unusable(reason));
                }
                if rows.interaction(row.key, Text::Seq(seq))?.is_none() {
                    return Err(no_interaction(user, seq));
                }
                rows.put_embedding(row.key, seq, base, (&*bytes).into())?;
            }
            Ok(())
        })
    }

    /// Where the graph over a user's embeddings may be kept; `None` for a state that offers no
    /// place.
    pub fn graph_place(&self, user: &UserId) -> Result<Option<GraphPlace>> {
        let Some(folder) = self.backend.cache() else {
            self.version(user)?;
            return Ok(None);
        };
        self.read_user(user, |rows, row| {
            let stamp = rows.graph(row.key)?;
            let stamp = stamp.map(|stamp| from_json("graphs", &stamp.value)).transpose()?;
            Ok(Some(GraphPlace { folder: folder.into(), name: row.key.to_string(), stamp }))
        })
    }

    /// Remembers what was kept at [`graph_place`](Self::graph_place).
    ///
    /// # Errors
    ///
    /// [`Error::Outdated`] if a text of the user was removed since `version`; what was kept is
    /// deleted then.
    pub fn set_graph(&self, version: &UserVersion, stamp: &GraphStamp) -> Result<()> {
        let user = &version.user;
        let what = format!("the stamp of the graph of user {user}");
        let kept = self.write(|rows| {
            let Some(row) = rows.user(user)? else { return Ok(false) };
            let is_current = row.removals == version.removals;
            let stamp = to_json(&what, stamp)?;
            rows.put_graph(row.key, is_current.then_some((&*stamp).into()))?;
            Ok(is_current)
        })?;
        if kept {
            return Ok(());
        }
        // The files hold what was removed meanwhile.
        let _ = self.backend.finish_removals();
        Err(Error::Outdated { user: user.clone() })
    }

    /// Hands texts to `take`, their log-likelihoods only if those are of this value's cut.
    pub(super) fn each_text(
        &self,
        rows: &dyn Rows,
        name: &UserId,
        user: &UserRow,
        which: Texts,
        mut take: impl FnMut(StoredInteraction, Option<(u32, bool)>),
    ) -> Outcome<()> {
        let is_of_this_cut = self.is_cut_alike(rows)?;
        rows.interactions(user.key, which, &mut |mut row| {
            row.base = row.base.filter(|_| is_of_this_cut);
            let (text, place) = stored(row, name)?;
            take(text, place);
            Ok(())
        })
    }

    pub(super) fn texts(
        &self,
        rows: &dyn Rows,
        name: &UserId,
        user: &UserRow,
        which: Texts,
    ) -> Outcome<Vec<StoredInteraction>> {
        let mut texts = Vec::new();
        self.each_text(rows, name, user, which, |text, _| texts.push(text))?;
        Ok(texts)
    }

    pub(super) fn texts_by_seq(
        &self,
        rows: &dyn Rows,
        name: &UserId,
        user: &UserRow,
        seqs: &[u64],
    ) -> Outcome<Vec<StoredInteraction>> {
        let is_of_this_cut = self.is_cut_alike(rows)?;
        let get = |&seq: &u64| {
            let found = rows.interaction(user.key, Text::Seq(seq))?;
            let mut row = found.ok_or_else(|| no_interaction(name, seq))?;
            row.base = row.base.filter(|_| is_of_this_cut);
            Ok(stored(row, name)?.0)
        };
        seqs.iter().map(get).collect()
    }

    pub(super) fn known_embeddings(
        &self,
        rows: &dyn Rows,
        user: &UserRow,
        seqs: &[u64],
    ) -> Outcome<EmbeddingMap> {
        let mut embeddings = EmbeddingMap::new();
        for &seq in seqs {
            let Some(bytes) = rows.embedding(user.key, seq, &self.settings.fingerprint)? else {
                continue;
            };
            let vector = vector_of(&bytes.value).ok_or_else(|| {
                let length = bytes.value.len();
                let detail = format!("{length} bytes are not a list of finite numbers");
                Fault::damaged("embeddings", detail)
            })?;
            embeddings.insert(seq, vector);
        }
        Ok(embeddings)
    }
}

/// Numbers of 32 bits, little endian.
fn vector_of(bytes: &[u8]) -> Option<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    let vector: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    let is_one = rest.is_empty() && !vector.is_empty() && vector.iter().all(|x| x.is_finite());
    is_one.then_some(vector)
}
