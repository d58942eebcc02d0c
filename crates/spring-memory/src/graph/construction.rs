//! Builds an HNSW graph (Malkov and Yashunin 2016, algorithm 1): one point after the other in one
//! thread, so that the same vectors give the same graph.
//!
//! A new point gets its links by the heuristic (algorithm 4), and so does, as in hnswlib, one that
//! comes to have too many.

use std::cmp::Reverse;

use rand::Rng;
use spring_numerics::key;
use spring_numerics::simd::{Simd, WithSimd};

use super::layers::{Layers, Links, Near, Query};

/// Beyond the sixteenth layer there would be no point in any graph that fits a memory.
const MAX_LAYERS: usize = 16;

/// A graph to be built over unit vectors, no two of which are equal: more copies than candidates
/// would have links to copies alone, which no search would leave again. (Copies that differ in a
/// last bit still can.)
pub(crate) struct Construction<'v> {
    /// One after the other.
    pub vectors: &'v [f32],
    pub dimensions: usize,
    /// Links of a new point in each layer, and room for as many; for twice as many in the lowest.
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
        let mut rng = key::stream(0, 0);
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
    /// The highest layer of a new point: in each layer is one in `links` of the points of the layer
    /// below.
    fn level(&self, rng: &mut impl Rng) -> usize {
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
            let mut candidates = query.widen(simd, lists, near, self.ef);
            candidates.sort_unstable_by_key(|&near| Reverse(near));
            near = candidates.first().copied().unwrap_or(near);
            let chosen = self.choose(simd, &candidates, self.links);
            let room = if at == 0 { 2 * self.links } else { self.links };
            for other in &chosen {
                let links = &mut lists[other.point() as usize];
                links.push(Near::new(other.similarity(), point));
                if links.len() > room {
                    links.sort_unstable_by_key(|&near| Reverse(near));
                    let kept = self.choose(simd, links, room);
                    links.clear();
                    links.extend(kept);
                }
            }
            // Others will link to it; one more than there is room for is there for a moment.
            lists[point as usize].reserve_exact(room + 1);
            lists[point as usize].extend(chosen);
        }
    }

    /// Up to `room` links of a point: the candidates, which come nearest first, without those that
    /// are at least as near to one chosen before as to the point. They are found through it, and
    /// the links that are left lead into all directions.
    #[inline(always)]
    fn choose<S: Simd>(&self, simd: S, candidates: &[Near], room: usize) -> Vec<Near> {
        let mut chosen: Vec<Near> = Vec::with_capacity(room);
        'candidates: for &candidate in candidates {
            let query = self.query(candidate.point());
            for other in &chosen {
                if query.near(simd, other.point()).similarity() >= candidate.similarity() {
                    continue 'candidates;
                }
            }
            chosen.push(candidate);
            if chosen.len() == room {
                break;
            }
        }
        chosen
    }

    #[inline(always)]
    fn query(&self, point: u32) -> Query<'_> {
        let query = &self.vectors[point as usize * self.dimensions..][..self.dimensions];
        Query { vectors: self.vectors, query }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spring_numerics::simd::dispatch;

    fn unit_vectors(count: usize, dimensions: usize) -> Vec<f32> {
        let mut rng = key::stream(7, 0);
        let mut vectors = Vec::new();
        for _ in 0..count {
            let vector: Vec<f32> = (0..dimensions).map(|_| rng.random::<f32>() - 0.5).collect();
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vectors.extend(vector.iter().map(|x| x / norm));
        }
        vectors
    }

    #[test]
    fn layers_have_their_sizes_and_nearly_every_point_is_reached() {
        let (count, dimensions, links) = (4000, 12, 6);
        let vectors = unit_vectors(count, dimensions);
        let layers = dispatch(Construction { vectors: &vectors, dimensions, links, ef: 40 });
        let lists = layers.lists(count as u32);
        assert!(lists.len() > 2, "{} layers", lists.len());
        for (level, lists) in lists.iter().enumerate() {
            let room = if level == 0 { 2 * links } else { links };
            assert!(lists.iter().all(|list| list.len() <= room));
            let (size, wanted) = (
                lists.iter().filter(|list| !list.is_empty()).count() as f64,
                count as f64 / (links as f64).powi(level as i32),
            );
            // Three standard deviations; a point alone in its layer has no link there.
            assert!(
                (size - wanted).abs() <= 3.0 * wanted.sqrt() + 1.0,
                "layer {level}: {size} of {wanted}"
            );
        }
        // From the entry, which has a link in each layer but perhaps the highest.
        let entry = layers.entry() as usize;
        assert!(lists[..lists.len() - 1].iter().all(|lists| !lists[entry].is_empty()));
        let (mut reached, mut open) = (vec![false; count], vec![entry]);
        while let Some(point) = open.pop() {
            if !std::mem::replace(&mut reached[point], true) {
                open.extend(lists[0][point].iter().map(|&link| link as usize));
            }
        }
        let reached = reached.iter().filter(|reached| **reached).count();
        assert!(reached >= count - 5, "{reached} reached");
    }
}
