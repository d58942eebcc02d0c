//! Builds an HNSW graph (Malkov and Yashunin 2016, algorithms 1, 2 and 4): one point after the other in one thread, so that
//! the same vectors give the same graph.

use std::cmp::Reverse;

use pulp::{Simd, WithSimd};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::layers::{Layers, Links, Near, Query};

/// Beyond the sixteenth layer there would be no point in any graph that fits a memory.
const MAX_LAYERS: usize = 16;

/// A graph to be built over unit vectors.
pub(crate) struct Construction<'v> {
    /// One after the other.
    pub vectors: &'v [f32],
    pub dimensions: usize,
    /// Links of a point in each layer; twice as many in the lowest.
    pub links: usize,
    /// Candidates that are looked at for the links of a point.
    pub ef: usize,
}

/// The links of one layer while it grows, with how near the two points are.
type Lists = Vec<Vec<Near>>;

impl Links for Lists {
    #[inline(always)]
    fn links(&self, point: u32) -> impl Iterator<Item = u32> {
        self[point as usize].iter().map(|near| near.point())
    }
}

impl WithSimd for Construction<'_> {
    type Output = Layers;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Layers {
        let points = self.vectors.len() / self.dimensions;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let (mut layers, mut entry) = (Vec::<Lists>::new(), 0);
        for point in 0..points as u32 {
            let level = self.level(&mut rng);
            self.insert(simd, &mut layers, entry, point, level);
            if level >= layers.len() {
                layers.resize_with(level + 1, || vec![Vec::new(); points]);
                entry = point;
            }
        }
        Layers::new(entry, points as u32, &layers)
    }
}

impl Construction<'_> {
    /// The highest layer of a new point: each has one in `links` of the points of the layer below.
    fn level(&self, rng: &mut ChaCha8Rng) -> usize {
        let level = -(1.0 - rng.random::<f64>()).ln() / (self.links as f64).ln();
        (level as usize).min(MAX_LAYERS - 1)
    }

    /// Links a point with others in the layers that there are, up to its own level.
    #[inline(always)]
    fn insert<S: Simd>(&self, simd: S, layers: &mut [Lists], entry: u32, point: u32, level: usize) {
        let query = self.query(point);
        let mut near = query.near(simd, entry);
        for (at, lists) in layers.iter_mut().enumerate().rev() {
            if at > level {
                near = query.descend(simd, lists, near);
                continue;
            }
            let mut chosen = query.widen(simd, lists, near, self.ef);
            near = chosen.iter().copied().max().unwrap_or(near);
            let room = if at == 0 { 2 * self.links } else { self.links };
            self.choose(simd, &mut chosen, room);
            for other in &chosen {
                let links = &mut lists[other.point() as usize];
                links.push(Near::new(other.similarity(), point));
                if links.len() > room
                    && let Some(farthest) = (0..links.len()).min_by_key(|&i| links[i])
                {
                    links.swap_remove(farthest);
                }
            }
            chosen.reserve_exact(room + 1 - chosen.len());
            lists[point as usize] = chosen;
        }
    }

    /// Keeps the nearest candidates but those that are nearer to one kept already: through it they are found too, and the
    /// links that are left lead into all directions.
    #[inline(always)]
    fn choose<S: Simd>(&self, simd: S, candidates: &mut Vec<Near>, room: usize) {
        candidates.sort_unstable_by_key(|&near| Reverse(near));
        let mut kept = 0;
        'candidates: for i in 0..candidates.len() {
            let candidate = candidates[i];
            let query = self.query(candidate.point());
            for other in &candidates[..kept] {
                // Of equal vectors all are kept, or most would be linked to by none.
                if query.near(simd, other.point()).similarity() > candidate.similarity() {
                    continue 'candidates;
                }
            }
            candidates[kept] = candidate;
            kept += 1;
            if kept == room {
                break;
            }
        }
        candidates.truncate(kept);
    }

    #[inline(always)]
    fn query(&self, point: u32) -> Query<'_> {
        let query = &self.vectors[point as usize * self.dimensions..][..self.dimensions];
        Query { vectors: self.vectors, query }
    }
}
