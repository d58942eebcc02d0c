//! The texts that a prior is learned from.

use spring_memory::UserId;

use super::{
    Store,
    contribution::contribution,
    known,
    prior::{in_use, record},
    version::version,
};
use crate::{
    Contribution, Contributors, Error, PriorPlan, PriorTexts, Result,
    backend::{Backend, Outcome, Rows, Texts, Users},
};

/// Names that are read at a time.
const PAGE: usize = 1000;

impl<B: Backend + ?Sized> Store<B> {
    /// The texts that a prior may be learned from, all as of one point in time.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`] and [`Error::Withheld`] for a user who was named.
    pub fn prior_texts(&self, plan: &PriorPlan) -> Result<PriorTexts> {
        self.read(|rows| {
            let agrees = matches!(plan.from, Contributors::Named(_) | Contributors::All);
            let mut found = PriorTexts {
                contributors: Vec::new(),
                refused: Vec::new(),
                silent: Vec::new(),
                most: plan.most,
                agrees,
            };
            for name in asked(rows, &plan.from)? {
                if plan.except.contains(&name) {
                    continue;
                }
                let user = known(rows, &name)?;
                let said = contribution(rows, user.key).map_err(|fault| fault.of_user(&name))?;
                match said {
                    Contribution { contributes: true, .. } => {}
                    Contribution { since: None, .. } if agrees => {}
                    Contribution { since: Some(since), .. } => {
                        if matches!(plan.from, Contributors::Named(_)) {
                            return Err(Error::Withheld { user: name, since }.into());
                        }
                        found.refused.push(name);
                        continue;
                    }
                    _ => continue,
                }
                let mut texts = Vec::new();
                let read = self.each_text(rows, &name, &user, Texts::ByTime, |text, place| {
                    if matches!(place, Some((_, false))) {
                        texts.push(text);
                    }
                });
                read.map_err(|fault| fault.of_user(&name))?;
                texts.drain(..texts.len().saturating_sub(plan.most));
                match texts.is_empty() {
                    true => found.silent.push(name),
                    false => {
                        let version = version(rows, &name, &user)?;
                        found.contributors.push((version, texts));
                    }
                }
            }
            Ok(found)
        })
    }
}

/// The users who are asked, in the order of their names, each once.
fn asked(rows: &dyn Rows, from: &Contributors) -> Outcome<Vec<UserId>> {
    let mut names = match (from, in_use(rows)?) {
        (Contributors::Named(names), _) => names.clone(),
        (Contributors::Same, Some(row)) => {
            let mut names = Vec::new();
            for contributor in record(rows, row.number)?.contributors {
                // Not all are here where the prior came from another state.
                if rows.user(&contributor.user)?.is_some() {
                    names.push(contributor.user);
                }
            }
            names
        }
        _ => return everybody(rows),
    };
    names.sort();
    names.dedup();
    Ok(names)
}

fn everybody(rows: &dyn Rows) -> Outcome<Vec<UserId>> {
    let mut names: Vec<UserId> = Vec::new();
    loop {
        let page = rows.users(Users::All, names.last(), PAGE)?;
        if page.is_empty() {
            return Ok(names);
        }
        names.extend(page);
    }
}
