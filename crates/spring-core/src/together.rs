//! Several people's updates trained in one batch: each is learned on a thread of its own, and where
//! all of them have come to their training, one call trains them side by side.
//!
//! Whoever waits, for the others or for a step, is told where they stand every second, so that a
//! request to stop is seen and a lease renewed.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use spring_lm::{
    AdaptOutcome, Adapter, LoraConfig, ModelError, Sequence, Train, TrainConfig, TrainRequest,
    TrainStep,
};

use crate::{Result, jobs::side_by_side};

/// How long the first of those who wait does so for others who have not come to their training yet:
/// whoever waits for a state, or reads a long history, holds nobody up for longer. Results do not
/// depend on it. Tests say who is trained with whom, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 5 });

/// How often somebody is told where they stand while nothing new has come.
const LOOK: Duration = Duration::from_secs(1);

/// Where people who are learned at the same time meet to be trained.
pub(crate) struct Table<'m> {
    model: &'m dyn Train,
    /// `None` where everybody is trained alone.
    asking: Option<Sender<Call>>,
    /// People whose periods are being learned.
    present: &'m AtomicUsize,
}

enum Call {
    Asks(Box<Asked>),
    /// Somebody is present no more.
    Left,
}

/// A request of somebody's own, as it goes to another thread.
struct Asked {
    start: Option<Adapter>,
    lora: LoraConfig,
    examples: Vec<Sequence>,
    config: TrainConfig,
    seed: u64,
    answer: Sender<Answer>,
}

enum Answer {
    Step(TrainStep),
    Ended(spring_lm::Result<AdaptOutcome>),
}

/// Does some work on as many threads as a batch has places, and trains there side by side what they
/// come to at a time; the first error is the result.
pub(crate) fn in_batches(
    model: &dyn Train,
    batch: usize,
    work: impl Fn(&Table<'_>) -> Result<()> + Sync,
) -> Result<()> {
    let present = AtomicUsize::new(0);
    if batch <= 1 {
        return work(&Table { model, asking: None, present: &present });
    }
    thread::scope(|scope| {
        let (asking, calls) = channel();
        let present = &present;
        let started = thread::Builder::new()
            .spawn_scoped(scope, move || serve(model, &calls, present, PATIENCE));
        // Without a thread for it everybody is trained alone.
        let table = Table { model, asking: started.is_ok().then_some(asking), present };
        side_by_side(batch, || work(&table))
    })
}

/// Trains who waits, whenever nobody present is missing or the first of them has waited for long
/// enough, until nobody can come any more.
fn serve(model: &dyn Train, calls: &Receiver<Call>, present: &AtomicUsize, patience: Duration) {
    let mut waiting: Vec<Asked> = Vec::new();
    // What others do meanwhile puts it off no further.
    let mut until = Instant::now();
    loop {
        let call = match waiting.is_empty() {
            true => calls.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => calls.recv_timeout(until.saturating_duration_since(Instant::now())),
        };
        match call {
            Ok(Call::Asks(asked)) => {
                if waiting.is_empty() {
                    until = Instant::now() + patience;
                }
                waiting.push(*asked);
            }
            Ok(Call::Left) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let is_late = Instant::now() >= until;
        if !waiting.is_empty() && (is_late || waiting.len() >= present.load(Ordering::SeqCst)) {
            train(model, std::mem::take(&mut waiting));
        }
    }
}

fn train(model: &dyn Train, waiting: Vec<Asked>) {
    let requests: Vec<TrainRequest<'_>> = waiting
        .iter()
        .map(|asked| {
            let Asked { start, lora, examples, config, seed, .. } = asked;
            TrainRequest::new(lora, examples, config, *seed).starting_from(start.as_ref())
        })
        .collect();
    // Whoever listens no more has been told to stop.
    let mut tell = |place: usize, step: TrainStep| {
        let asked: &Asked = &waiting[place];
        match asked.answer.send(Answer::Step(step)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    // A panic here would leave those who wait, and come later, without a word.
    let trained = catch_unwind(AssertUnwindSafe(|| model.train_many(&requests, &mut tell)));
    let outcomes =
        trained.unwrap_or_else(|_| waiting.iter().map(|_| Err(ModelError::Panicked)).collect());
    for (asked, outcome) in waiting.iter().zip(outcomes) {
        let _ = asked.answer.send(Answer::Ended(outcome));
    }
}

impl Table<'_> {
    /// Learns somebody's periods, the updates trained by what `learn` is given: the others at the
    /// table wait for them.
    pub(crate) fn seat<R>(&self, learn: impl FnOnce(&dyn Train) -> R) -> R {
        struct Seat<'t, 'm>(&'t Table<'m>);
        impl Drop for Seat<'_, '_> {
            fn drop(&mut self) {
                self.0.present.fetch_sub(1, Ordering::SeqCst);
                if let Some(asking) = &self.0.asking {
                    // Who trains is there as long as the table is.
                    let _ = asking.send(Call::Left);
                }
            }
        }
        self.present.fetch_add(1, Ordering::SeqCst);
        let _seat = Seat(self);
        match self.asking {
            Some(_) => learn(self),
            None => learn(self.model),
        }
    }
}

impl Train for Table<'_> {
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> spring_lm::Result<AdaptOutcome> {
        let TrainRequest { start, lora, examples, config, seed, .. } = request;
        let (answer, answers) = channel();
        let asked = Asked {
            start: start.cloned(),
            lora: lora.clone(),
            examples: examples.to_vec(),
            config: config.clone(),
            seed,
            answer,
        };
        if let Some(asking) = &self.asking
            && asking.send(Call::Asks(Box::new(asked))).is_ok()
        {
            let steps = config.steps(examples.len());
            let mut last = TrainStep { done: 0, steps, loss: None, gradient_norm: None };
            loop {
                match answers.recv_timeout(LOOK) {
                    Ok(Answer::Ended(outcome)) => return outcome,
                    Ok(Answer::Step(step)) => last = step,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if progress(last).is_break() {
                    return Err(ModelError::Stopped);
                }
            }
        }
        // Nobody trains at this table.
        self.model.train(request, progress)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Notes how many come at once; nothing is trained.
    #[derive(Default)]
    struct Noting(Mutex<Vec<usize>>);

    impl Train for Noting {
        fn train(
            &self,
            request: TrainRequest<'_>,
            _: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
        ) -> spring_lm::Result<AdaptOutcome> {
            Err(ModelError::Sequence(format!("seed {}", request.seed)))
        }

        fn train_many(
            &self,
            requests: &[TrainRequest<'_>],
            progress: &mut dyn FnMut(usize, TrainStep) -> ControlFlow<()>,
        ) -> Vec<spring_lm::Result<AdaptOutcome>> {
            self.0.lock().unwrap().push(requests.len());
            let train = |(place, request): (usize, &TrainRequest<'_>)| {
                self.train(*request, &mut |step| progress(place, step))
            };
            requests.iter().enumerate().map(train).collect()
        }
    }

    fn ask(trainer: &dyn Train, seed: u64) -> String {
        let (lora, config) = (LoraConfig::default(), TrainConfig::default());
        let request = TrainRequest::new(&lora, &[], &config, seed);
        trainer.train(request, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string()
    }

    #[test]
    fn who_is_present_is_waited_for_and_who_leaves_is_not() {
        let (noting, seeds) = (Noting::default(), AtomicUsize::new(0));
        let here = std::sync::Barrier::new(3);
        in_batches(&noting, 3, |table| {
            table.seat(|trainer| {
                here.wait();
                let seed = seeds.fetch_add(1, Ordering::SeqCst) as u64;
                // One leaves without a training; the two others have two each.
                for round in (0..2).take_while(|_| seed > 0) {
                    let told = ask(trainer, 10 * seed + round);
                    assert!(told.contains(&format!("seed {}", 10 * seed + round)), "{told}");
                }
            });
            Ok(())
        })
        .unwrap();
        assert_eq!(*noting.0.lock().unwrap(), [2, 2]);
    }

    #[test]
    fn who_waits_does_so_no_longer_for_what_others_do() {
        let (noting, present) = (&Noting::default(), &AtomicUsize::new(2));
        let ((asking, calls), (answer, answers)) = (channel(), channel());
        let (lora, config) = (LoraConfig::default(), TrainConfig::default());
        let asked = Asked { start: None, lora, examples: vec![], config, seed: 1, answer };
        let is_answered = thread::scope(|scope| {
            scope.spawn(move || serve(noting, &calls, present, Duration::from_millis(50)));
            asking.send(Call::Asks(Box::new(asked))).unwrap();
            // The other one does not come, and calls come more often than patience ends.
            let is_answered = (0..10_000).any(|_| {
                asking.send(Call::Left).unwrap();
                answers.recv_timeout(Duration::from_millis(1)).is_ok()
            });
            drop(asking);
            is_answered
        });
        assert!(is_answered);
    }

    #[test]
    fn who_waits_for_others_is_asked_whether_to_stop() {
        let (noting, places) = (Noting::default(), AtomicUsize::new(0));
        let (here, told) = (std::sync::Barrier::new(2), Mutex::new(None));
        in_batches(&noting, 2, |table| {
            table.seat(|trainer| {
                here.wait();
                if places.fetch_add(1, Ordering::SeqCst) == 0 {
                    let (lora, config) = (LoraConfig::default(), TrainConfig::default());
                    let request = TrainRequest::new(&lora, &[], &config, 1);
                    let ended = trainer.train(request, &mut |_| ControlFlow::Break(()));
                    *told.lock().unwrap() = ended.err();
                }
                // The other one stays until then, and does not come to a training.
                here.wait();
            });
            Ok(())
        })
        .unwrap();
        let told = told.into_inner().unwrap();
        assert!(matches!(told, Some(ModelError::Stopped)), "{told:?}");
    }

    #[test]
    fn whoever_waits_hears_of_a_panic() {
        struct Panicking;

        impl Train for Panicking {
            fn train(
                &self,
                _: TrainRequest<'_>,
                _: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
            ) -> spring_lm::Result<AdaptOutcome> {
                panic!("as planned");
            }
        }

        in_batches(&Panicking, 2, |table| {
            table.seat(|trainer| {
                // The next training is there all the same.
                for seed in 0..2 {
                    let told = ask(trainer, seed);
                    assert!(told.contains("panicked"), "{told}");
                }
            });
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn who_is_alone_is_trained_alone() {
        let noting = Noting::default();
        in_batches(&noting, 1, |table| {
            assert!(table.seat(|trainer| ask(trainer, 7)).contains("seed 7"));
            Ok(())
        })
        .unwrap();
        assert!(noting.0.lock().unwrap().is_empty());
    }
}
