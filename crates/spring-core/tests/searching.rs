//! Search over a history, and what needs embeddings: kept once, gone with their text, of one user
//! only.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{config, id, ingest, model, settings, texts, user};
use spring_core::{
    Access, Config, EmbeddingMap, Error, Event, FoundText, GraphPlace, HistorySearch, Periods,
    Result, RetrieverKind, SqliteStore, Tokenize, UserModel, adapt, embed_interaction,
    forget_interaction,
    spring_fuse::GateConfig,
    spring_memory::{BufferPolicyConfig, EvictionReason, GraphOrigin, SearchFilter, SearchMode},
    spring_store::Error as StoreError,
};

const MODES: [SearchMode; 3] = [SearchMode::Bm25, SearchMode::Dense, SearchMode::Hybrid];

fn open(store: &SqliteStore, name: &str, mode: SearchMode, held_out: bool) -> HistorySearch {
    HistorySearch::open(Some(model()), store, &user(name), mode, held_out, &mut ()).unwrap()
}

fn find(search: &HistorySearch, query: &str, filter: &SearchFilter) -> Vec<FoundText> {
    search.search(Some(model()), query, 99, filter).unwrap()
}

fn on_file(config: Config) -> (tempfile::TempDir, PathBuf, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("me.db");
    let store = SqliteStore::create(&path, &settings(config)).unwrap();
    (folder, path, store)
}

fn graphs(state: &Path) -> Vec<String> {
    let mut folder = state.canonicalize().unwrap().into_os_string();
    folder.push("-graphs");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn learn(store: &SqliteStore, name: &str, count: u32, hold_out: f64) {
    adapt(model(), store, &user(name), Periods { count, hold_out }, &mut ()).unwrap();
}

#[test]
fn every_mode_finds_texts_of_the_user_alone() {
    let store = SqliteStore::in_memory(&settings(config())).unwrap();
    ingest(&store, &(texts("ada", 0..10) + &texts("bob", 0..10)));
    for mode in MODES {
        let search = open(&store, "ada", mode, false);
        assert_eq!(search.len(), 10);
        let found = find(&search, "About my dog, which bob finds odd", &SearchFilter::default());
        assert!(found.iter().all(|text| text.interaction.user == user("ada")), "{mode:?}");
        assert!(found.len() >= 2, "{mode:?}");
        assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
        if mode == SearchMode::Bm25 {
            assert!(found[0].interaction.prompt.contains("my dog"), "{mode:?}");
        }
    }
    let same = find(
        &open(&store, "ada", SearchMode::Dense, false),
        "About soup\nada finds soup dull on day 4.",
        &SearchFilter::default(),
    );
    assert_eq!(same[0].interaction.id, id("4"));
    let nobody = HistorySearch::open(None, &store, &user("eve"), SearchMode::Bm25, false, &mut ());
    assert!(matches!(nobody, Err(Error::Store(StoreError::UnknownUser { .. }))));
    let modelless =
        HistorySearch::open(None, &store, &user("ada"), SearchMode::Dense, false, &mut ());
    assert!(matches!(modelless, Err(Error::Search(_))));
}

#[test]
fn filters_and_held_out_texts() {
    let store = SqliteStore::in_memory(&settings(config())).unwrap();
    ingest(&store, &texts("ada", 0..10));
    learn(&store, "ada", 2, 0.2);
    ingest(&store, &texts("ada", 10..12));
    let ids = |search: &HistorySearch, filter: SearchFilter| {
        let mut ids: Vec<u32> = find(search, "ada finds", &filter)
            .iter()
            .map(|t| t.interaction.id.as_str().parse().unwrap())
            .collect();
        ids.sort_unstable();
        ids
    };
    for mode in MODES {
        let search = open(&store, "ada", mode, false);
        let all = SearchFilter::default();
        assert_eq!(ids(&search, all.clone()), [0, 1, 2, 3, 5, 6, 7, 8, 10, 11], "{mode:?}");
        let day = |day: i64| jiff::Timestamp::from_second(1_700_000_000 + 86_400 * day).unwrap();
        let times = all.clone().with_from(Some(day(3))).with_before(Some(day(7)));
        assert_eq!(ids(&search, times), [3, 5, 6], "{mode:?}");
        assert_eq!(ids(&search, all.clone().with_periods(Some(2..=2))), [5, 6, 7, 8], "{mode:?}");
        let search = open(&store, "ada", mode, true);
        assert_eq!(ids(&search, all), (0..12).collect::<Vec<_>>(), "{mode:?}");
        let held_out: Vec<_> = find(&search, "ada finds", &SearchFilter::default());
        assert_eq!(held_out.iter().filter(|text| text.held_out).count(), 2);
    }
}

#[test]
fn a_text_is_embedded_once_and_its_embedding_goes_with_it() {
    let (_folder, path, store) = on_file(config());
    ingest(&store, &texts("ada", 0..6));
    assert_eq!(open(&store, "ada", SearchMode::Hybrid, false).embedded(), 6);
    assert_eq!(open(&store, "ada", SearchMode::Dense, false).embedded(), 0);
    let all = store.history(&user("ada")).unwrap().entries;
    let seqs: Vec<u64> = all.iter().map(|entry| entry.stored.seq).collect();
    let kept = store.embeddings(&user("ada"), &seqs).unwrap();
    for entry in &all {
        assert_eq!(
            kept[&entry.stored.seq],
            embed_interaction(model(), &entry.stored.interaction).unwrap()
        );
    }
    ingest(&store, &texts("ada", 6..7));
    let mut asked = Vec::new();
    let mut stop = |event: Event<'_>| {
        if let Event::Embedding { texts, .. } = event {
            asked.push(texts);
        }
        std::ops::ControlFlow::Break(())
    };
    let stopped = HistorySearch::open(
        Some(model()),
        &store,
        &user("ada"),
        SearchMode::Dense,
        false,
        &mut stop,
    );
    assert!(stopped.unwrap_err().is_stopped());
    assert_eq!(asked, [1]);

    forget_interaction(model(), &store, &user("ada"), &id("2"), &mut ()).unwrap();
    assert_eq!(store.embeddings(&user("ada"), &seqs).unwrap().len(), 5);
    // Nothing of an embedding lies in the file once its user is forgotten.
    let bytes: Vec<u8> = kept[&seqs[0]].iter().flat_map(|x| x.to_le_bytes()).collect();
    let holds = |store: SqliteStore| {
        drop(store);
        std::fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    };
    assert!(holds(store));
    let store = SqliteStore::open(&path, Access::ReadWrite).unwrap();
    assert!(store.forget(&user("ada")).unwrap().scrubbed);
    assert!(!holds(store));
}

#[test]
fn a_store_refuses_embeddings_that_are_none() {
    let store = SqliteStore::in_memory(&settings(config())).unwrap();
    ingest(&store, &(texts("ada", 0..1) + &texts("bob", 0..2)));
    let version = store.version(&user("ada")).unwrap();
    let set = |seq, vector| store.set_embeddings(&version, &EmbeddingMap::from([(seq, vector)]));
    assert!(set(1, vec![f32::NAN]).is_err());
    assert!(set(1, vec![]).is_err());
    // Bob's second text has a number that Ada has not.
    assert!(set(2, vec![1.0]).is_err());
    assert!(set(1, vec![1.0]).is_ok());
    assert!(store.embeddings(&user("bob"), &[1, 2]).unwrap().is_empty());
}

#[test]
fn a_graph_is_a_cache() {
    let mut config = config();
    config.search.dense.exact_below = 1;
    let (_folder, path, store) = on_file(config);
    ingest(&store, &(texts("ada", 0..12) + &texts("../bob", 0..12)));
    let look = |store: &SqliteStore| {
        let search = open(store, "../bob", SearchMode::Dense, false);
        let found = find(&search, "About the sea", &SearchFilter::default());
        (search.graph().clone(), found)
    };
    let is_rebuilt = |origin: &GraphOrigin| matches!(origin, GraphOrigin::Rebuilt(_));
    let (origin, found) = look(&store);
    assert!(is_rebuilt(&origin));
    assert_eq!(found.len(), 12);
    assert_eq!(graphs(&path), ["2.hnsw.graph"]);
    assert_eq!(look(&store), (GraphOrigin::Loaded, found.clone()));

    // Older versions kept the embeddings beside it.
    let folder = store.graph_place(&user("../bob")).unwrap().unwrap().folder;
    std::fs::write(folder.join("2.hnsw.data"), "of an older version").unwrap();
    drop(SqliteStore::open(&path, Access::ReadWrite).unwrap());
    assert_eq!(graphs(&path), ["2.hnsw.graph"]);

    // A damaged and a missing one are built anew, and one that lacks more than a fifth.
    std::fs::write(folder.join("2.hnsw.graph"), "no graph").unwrap();
    let (origin, again) = look(&store);
    assert!(is_rebuilt(&origin));
    assert_eq!(again, found);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(is_rebuilt(&look(&store).0));
    ingest(&store, &texts("../bob", 12..14));
    let (origin, found) = look(&store);
    assert_eq!((origin, found.len()), (GraphOrigin::Loaded, 14));
    ingest(&store, &texts("../bob", 14..15));
    assert!(is_rebuilt(&look(&store).0));
    assert_eq!(look(&store).0, GraphOrigin::Loaded);

    // It goes with a text and with its user; one that is left over goes when the state is opened.
    assert!(is_rebuilt(open(&store, "ada", SearchMode::Dense, false).graph()));
    assert_eq!(graphs(&path).len(), 2);
    forget_interaction(model(), &store, &user("ada"), &id("3"), &mut ()).unwrap();
    assert_eq!(graphs(&path), ["2.hnsw.graph"]);
    store.forget(&user("../bob")).unwrap();
    assert!(graphs(&path).is_empty());
    // One that was made while a text was forgotten is not kept.
    ingest(&store, &texts("cy", 0..12));
    let before = store.version(&user("cy")).unwrap();
    assert!(is_rebuilt(open(&store, "cy", SearchMode::Dense, false).graph()));
    let GraphPlace { name, stamp, .. } = store.graph_place(&user("cy")).unwrap().unwrap();
    forget_interaction(model(), &store, &user("cy"), &id("3"), &mut ()).unwrap();
    std::fs::write(folder.join(format!("{name}.hnsw.graph")), "made before").unwrap();
    let kept = store.set_graph(&before, &stamp.unwrap());
    assert!(matches!(kept, Err(StoreError::Outdated { .. })), "{kept:?}");
    assert!(graphs(&path).is_empty());
    std::fs::write(folder.join("7.hnsw.graph"), "left by a crash").unwrap();
    std::fs::write(folder.join("notes.txt"), "somebody's").unwrap();
    drop(SqliteStore::open(&path, Access::ReadWrite).unwrap());
    assert_eq!(graphs(&path), ["notes.txt"]);
}

#[test]
fn a_buffer_of_diverse_texts() -> Result<()> {
    let mut config = config();
    config.buffer.policy = BufferPolicyConfig::Diversity;
    config.buffer.capacity = 4;
    let store = SqliteStore::in_memory(&settings(config.clone()))?;
    ingest(&store, &texts("ada", 0..14));
    learn(&store, "ada", 2, 0.0);
    let records = store.period_records(&user("ada"), None)?;
    let evicted = &records[0].record.evicted;
    assert_eq!(evicted.len(), 3);
    assert!(
        evicted.iter().all(|gone| matches!(gone.reason, EvictionReason::Redundant { .. })),
        "{evicted:?}"
    );
    let (memories, bank) = UserModel::recall(model(), &store, &user("ada"), None)?.into_parts();
    assert_eq!(memories.buffer.len(), 4);
    // Those that were computed on the way are kept, and of what was not selected there are none.
    let seqs: Vec<u64> = (1..=14).collect();
    let selected = |period: usize| {
        records[period].record.scores.iter().filter(|s| s.selected.is_some()).count()
    };
    assert_eq!(store.embeddings(&user("ada"), &seqs)?.len(), selected(0) + selected(1));
    assert!(bank.texts().iter().all(|text| !text.interaction.response.is_empty()));

    // Forgetting a text ends where a run without it ends.
    let without = SqliteStore::in_memory(&settings(config))?;
    ingest(&without, &texts("ada", (0..14).filter(|i| *i != 3)));
    let cut = store.members(&user("ada"), 1)?.len() - 1;
    assert_eq!(cut, 6);
    forget_interaction(model(), &store, &user("ada"), &id("3"), &mut ())?;
    let first = without.plan_periods(&user("ada"), 2, 0.0)?;
    assert_eq!(
        first[0].members.len(),
        7,
        "the cut differs, so only the first six texts are the same"
    );
    let kept = store.generation(&user("ada"), Some(1))?.unwrap();
    assert!(kept.buffer.iter().all(|item| item.key != 4) && kept.buffer.len() == 4);
    Ok(())
}

#[test]
fn dense_retrieval_over_the_buffer() -> Result<()> {
    let mut config = config();
    config.retrieval.retriever = RetrieverKind::Dense;
    config.gate = GateConfig::Always { k: 2 };
    config.decoding.max_new_tokens = Some(3);
    let store = SqliteStore::in_memory(&settings(config.clone()))?;
    ingest(&store, &texts("ada", 0..10));
    learn(&store, "ada", 1, 0.0);
    let ada = UserModel::recall(model(), &store, &user("ada"), None)?;
    let (memories, bank) = (ada.memories(), ada.bank());
    assert_eq!(bank.retriever().name(), "dense");
    // Cosines of the period's own measure, not computed again.
    assert_eq!(memories.calibration, store.generation(&user("ada"), None)?.unwrap().calibration);
    assert_eq!(memories.calibration.sample, bank.calibration(model())?);
    assert!(memories.calibration.sample.iter().all(|score| (-1.001..=1.001).contains(score)));
    let answer = ada.generate("About soup", &mut ())?;
    assert_eq!((answer.retriever.as_str(), answer.retrieved.len()), ("dense", 10));
    assert!(
        answer.retrieved.iter().any(|found| found.used) && answer.fusion == Some(config.fusion)
    );
    store.record_answer(&store.version(&user("ada"))?, &answer)?;
    assert_eq!(store.answers(&user("ada"), 1)?[0], answer);
    Ok(())
}

#[test]
fn words_of_a_template_can_be_left_out() -> Result<()> {
    let mut config = config();
    config.retrieval.template_share = Some(0.9);
    config.search.template_share = Some(0.9);
    let store = SqliteStore::in_memory(&settings(config))?;
    ingest(&store, &texts("ada", 0..10));
    learn(&store, "ada", 1, 0.0);
    let (_, bank) = UserModel::recall(model(), &store, &user("ada"), None)?.into_parts();
    assert!(bank.search(model(), "About", 9)?.is_empty());
    assert!(!bank.search(model(), "About soup", 9)?.is_empty());
    assert!(
        find(&open(&store, "ada", SearchMode::Bm25, false), "About", &SearchFilter::default())
            .is_empty()
    );
    assert!(model().info().context > 0);
    Ok(())
}
