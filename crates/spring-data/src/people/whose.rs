//! Whose side of a file is learned.

use super::{
    error::{Error, Result},
    found::{Found, Person},
    options::Options,
};

/// The people whose messages are learned, and how that was found out.
#[derive(Debug)]
pub(crate) struct Side {
    /// By their place in the list of people.
    pub(crate) people: Vec<usize>,
    /// In words; nothing where the caller said it.
    pub(crate) why: Option<String>,
    /// A name for the user of a state.
    pub(crate) name: Option<String>,
}

/// Finds the person: as the caller says, else what the reader thought, else the only one there is.
pub(crate) fn side(found: &Found, options: &Options, label: &str) -> Result<Side> {
    let named = |people: &[usize]| {
        let most =
            people.iter().map(|place| &found.people[*place]).max_by_key(|person| person.count);
        most.and_then(name_of)
    };
    let writers: Vec<usize> =
        (0..found.people.len()).filter(|place| found.people[*place].count > 0).collect();
    if !options.me.is_empty() && !found.all_mine {
        let mut people: Vec<usize> = (0..found.people.len())
            .filter(|place| options.me.iter().any(|me| is_called(&found.people[*place], me)))
            .collect();
        if people.is_empty() {
            // "Mara" is Mara Lind where there is no other Mara.
            let begins = |place: &&usize| {
                let first = found.people[**place].name.split_whitespace().next();
                options
                    .me
                    .iter()
                    .any(|me| first.is_some_and(|first| first.to_lowercase() == me.to_lowercase()))
            };
            let called: Vec<usize> = writers.iter().filter(begins).copied().collect();
            if called.len() == 1 {
                people = called;
            }
        }
        if !people.iter().any(|place| found.people[*place].count > 0) {
            let me = options.me.join(", ");
            return Err(Error::NobodyLikeThat { file: label.into(), me, people: listed(found) });
        }
        let name = named(&people);
        return Ok(Side { people, why: None, name });
    }
    if let Some((people, why)) = &found.guess {
        let name = named(people);
        return Ok(Side { people: people.clone(), why: Some(why.clone()), name });
    }
    if found.all_mine {
        return Ok(Side { people: writers, why: None, name: None });
    }
    if let [only] = writers[..] {
        let why = format!("{}, who wrote all of it", shown(&found.people[only]));
        return Ok(Side { name: named(&writers), people: writers, why: Some(why) });
    }
    let most = writers.iter().map(|place| &found.people[*place]).max_by_key(|person| person.count);
    let example = most.map_or("--me NAME".to_owned(), |person| {
        let name = if person.address.contains('@') || person.name.is_empty() {
            &person.address
        } else {
            &person.name
        };
        format!("--me {name:?}")
    });
    Err(Error::WhoseSide { file: label.into(), example, people: listed(found) })
}

/// Whether a person goes by an address, a name or an id, in whatever case.
pub(crate) fn is_called(person: &Person, me: &str) -> bool {
    // "Mara Lind <mara@example.org>", as mail programs show it.
    let (name, address) = match me.split_once('<') {
        Some((name, rest)) => (name.trim(), rest.trim_end_matches('>').trim()),
        None => (me.trim(), me.trim()),
    };
    let same = |a: &str, b: &str| !a.is_empty() && a.to_lowercase() == b.to_lowercase();
    same(&person.address, address) || (address == name && same(&person.name, name))
}

/// Who writes in a file, those with most texts first.
fn listed(found: &Found) -> String {
    const SHOWN: usize = 8;
    let mut people: Vec<&Person> = found.people.iter().filter(|person| person.count > 0).collect();
    people.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    let names: Vec<String> = people
        .iter()
        .take(SHOWN)
        .map(|person| format!("{} ({})", shown(person), person.count))
        .collect();
    match people.len() {
        0 => "nobody's texts".into(),
        count if count > SHOWN => format!("{} and {} more", names.join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}

/// A person as messages name one.
pub(crate) fn shown(person: &Person) -> String {
    let text = match (person.name.as_str(), person.address.as_str()) {
        (name, "") => name.to_owned(),
        ("", address) => address.to_owned(),
        (name, address) if name == address => name.to_owned(),
        (name, address) => format!("{name} <{address}>"),
    };
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A user's name in a state from a person's name or address: lower case, with hyphens.
fn name_of(person: &Person) -> Option<String> {
    let name = match person.name.trim() {
        // An id of a program, such as "user", names nobody.
        "" => person.address.split_once('@')?.0,
        name => name,
    };
    slug(name)
}

/// Lower case, hyphens for all that is neither letter nor digit.
pub(crate) fn slug(name: &str) -> Option<String> {
    let words: Vec<String> = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let slug: String = words.join("-").chars().take(60).collect();
    (!slug.is_empty()).then_some(slug)
}
