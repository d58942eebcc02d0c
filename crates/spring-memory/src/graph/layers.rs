//! The links of an HNSW graph (Malkov and Yashunin 2016) in flat arrays, and the search along them.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde::{Deserialize, Serialize};
use spring_numerics::dot::dot_with;
use spring_numerics::simd::{Simd, WithSimd, dispatch};

/// Points that are compared before any of them is kept, so that the processor reads several vectors
/// at a time.
const AT_ONCE: usize = 8;

/// A point and how similar it is to a query: ordered by the similarity, of equals the larger point
/// last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Near(u64);

impl Near {
    /// The similarity's bits above the point's, so that one comparison of integers orders both.
    #[inline(always)]
    pub(crate) fn new(similarity: f32, point: u32) -> Self {
        let bits = similarity.to_bits();
        // Negative numbers have the upper bit, and their order is the opposite of their bits'.
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        Self(u64::from(ordered) << 32 | u64::from(point))
    }

    pub(crate) fn similarity(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
    }

    #[inline(always)]
    pub(crate) fn point(self) -> u32 {
        self.0 as u32
    }
}

/// The links between the points of one layer, as a search follows them.
pub(crate) trait Links {
    fn links(&self, point: u32) -> impl Iterator<Item = u32>;
}

/// The links of one layer in a row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    /// Point `p` has `links[starts[p]..starts[p + 1]]`.
    starts: Vec<usize>,
    links: Vec<u32>,
}

impl Links for Layer {
    #[inline(always)]
    fn links(&self, point: u32) -> impl Iterator<Item = u32> {
        let point = point as usize;
        self.links[self.starts[point]..self.starts[point + 1]].iter().copied()
    }
}

impl Layer {
    fn new(points: u32, links: &impl Links) -> Self {
        let count = (0..points).map(|point| links.links(point).count()).sum();
        let mut layer = Self { starts: vec![0], links: Vec::with_capacity(count) };
        for point in 0..points {
            layer.links.extend(links.links(point));
            layer.starts.push(layer.links.len());
        }
        layer
    }

    fn is_sound(&self, points: usize) -> bool {
        self.starts.len() == points + 1
            && self.starts.is_sorted()
            && self.starts.last() == Some(&self.links.len())
            && self.links.iter().all(|&link| (link as usize) < points)
    }
}

/// All layers of a graph, which is all that is kept of it on disk. The lowest has every point, the
/// highest few.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// Where a search begins, in the highest layer.
    entry: u32,
    /// The lowest first.
    layers: Vec<Layer>,
}

impl Layers {
    /// From the links of all points in each layer, the lowest first.
    pub(crate) fn new(entry: u32, points: u32, layers: &[impl Links]) -> Self {
        Self { entry, layers: layers.iter().map(|links| Layer::new(points, links)).collect() }
    }

    #[cfg(test)]
    pub(crate) fn entry(&self) -> u32 {
        self.entry
    }

    /// The links of each point in each layer, the lowest first.
    #[cfg(test)]
    pub(crate) fn lists(&self, points: u32) -> Vec<Vec<Vec<u32>>> {
        let lists = |layer: &Layer| (0..points).map(|point| layer.links(point).collect()).collect();
        self.layers.iter().map(lists).collect()
    }

    /// Whether a search among this number of points stays inside them.
    pub(crate) fn is_sound(&self, points: usize) -> bool {
        (self.entry as usize) < points
            && !self.layers.is_empty()
            && self.layers.iter().all(|layer| layer.is_sound(points))
    }

    /// About the `ef` points nearest to `query` by dot product, in no order; `vectors` has those of
    /// all points one after the other, each as long as the query, which is not empty.
    pub(crate) fn search(&self, vectors: &[f32], query: &[f32], ef: usize) -> Vec<Near> {
        dispatch(Search { layers: self, query: Query { vectors, query }, ef })
    }
}

struct Search<'g> {
    layers: &'g Layers,
    query: Query<'g>,
    ef: usize,
}

impl WithSimd for Search<'_> {
    type Output = Vec<Near>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Near> {
        let Self { layers: Layers { entry, layers }, query, ef } = self;
        let Some((lowest, upper)) = layers.split_first() else { return Vec::new() };
        let mut near = query.near(simd, *entry);
        for layer in upper.iter().rev() {
            near = query.descend(simd, layer, near);
        }
        query.widen(simd, lowest, near, ef)
    }
}

/// A query among the vectors of all points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'g> {
    /// One after the other, each as long as the query.
    pub vectors: &'g [f32],
    pub query: &'g [f32],
}

impl Query<'_> {
    /// How near a point is.
    #[inline(always)]
    pub(crate) fn near<S: Simd>(&self, simd: S, point: u32) -> Near {
        let row = &self.vectors[point as usize * self.query.len()..][..self.query.len()];
        Near::new(dot_with(simd, self.query, row), point)
    }

    /// Goes from point to nearer point, until none that a layer links to is nearer.
    #[inline(always)]
    pub(crate) fn descend<S: Simd>(&self, simd: S, layer: &impl Links, start: Near) -> Near {
        let mut best = start;
        let mut linked = Vec::new();
        loop {
            let before = best;
            linked.clear();
            linked.extend(layer.links(before.point()));
            self.compare(simd, &linked, |near| best = best.max(near));
            if best == before {
                return best;
            }
        }
    }

    /// Follows the links of the nearest points until none leads nearer than the `ef` nearest found,
    /// which are returned in no order.
    #[inline(always)]
    pub(crate) fn widen<S: Simd>(
        &self,
        simd: S,
        layer: &impl Links,
        start: Near,
        ef: usize,
    ) -> Vec<Near> {
        let points = self.vectors.len() / self.query.len();
        // A bit for each point is cleared sooner than memory for it is shared between threads.
        let mut seen = vec![0u64; points.div_ceil(64)];
        let mut is_new = |point: u32| {
            let (word, bit) = (&mut seen[point as usize / 64], 1 << (point % 64));
            let is_new = *word & bit == 0;
            *word |= bit;
            is_new
        };
        is_new(start.point());
        let ef = ef.min(points);
        let mut found = BinaryHeap::with_capacity(ef);
        found.push(Reverse(start));
        let mut open = BinaryHeap::with_capacity(2 * ef);
        open.push(start);
        let mut new = Vec::new();
        while let Some(nearest) = open.pop() {
            if found.len() == ef && found.peek().is_some_and(|worst| nearest < worst.0) {
                break;
            }
            new.clear();
            new.extend(layer.links(nearest.point()).filter(|&point| is_new(point)));
            self.compare(simd, &new, |near| {
                if found.len() < ef {
                    found.push(Reverse(near));
                    open.push(near);
                } else if let Some(mut worst) = found.peek_mut()
                    && near > worst.0
                {
                    *worst = Reverse(near);
                    open.push(near);
                }
            });
        }
        found.into_iter().map(|Reverse(near)| near).collect()
    }

    #[inline(always)]
    fn compare<S: Simd>(&self, simd: S, points: &[u32], mut take: impl FnMut(Near)) {
        for points in points.chunks(AT_ONCE) {
            let mut all = [Near(0); AT_ONCE];
            for (near, &point) in all.iter_mut().zip(points) {
                *near = self.near(simd, point);
            }
            all[..points.len()].iter().for_each(|&near| take(near));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_near_is_that_of_the_numbers() {
        let ascending = [
            (-1.0, 9),
            (-0.5, 3),
            (-0.0, 7),
            (0.0, 7),
            (1e-30, 0),
            (0.5, 1),
            (0.5, 2),
            (1.0, u32::MAX),
        ];
        for (similarity, point) in ascending {
            let near = Near::new(similarity, point);
            assert_eq!((near.similarity().to_bits(), near.point()), (similarity.to_bits(), point));
        }
        assert!(ascending.map(|(similarity, point)| Near::new(similarity, point)).is_sorted());
    }

    #[test]
    fn links_out_of_range_are_seen() {
        let near = |point| Near::new(0.5, point);
        let lists = [
            vec![vec![near(1)], vec![near(0), near(2)], vec![near(1)]],
            vec![vec![near(2)], vec![], vec![near(0)]],
        ];
        let layers = || Layers::new(0, 3, &lists);
        assert!(layers().is_sound(3));
        assert!(
            !layers().is_sound(2)
                && !layers().is_sound(4)
                && !Layers::new(3, 3, &lists).is_sound(3)
        );
        assert!(!Layers::new(0, 3, &lists[..0]).is_sound(3));
        let damaged = |damage: fn(&mut Layer)| {
            let mut layers = layers();
            damage(&mut layers.layers[1]);
            !layers.is_sound(3)
        };
        assert!(damaged(|layer| layer.links[1] = 3));
        assert!(damaged(|layer| layer.starts[1] = 5));
        assert!(damaged(|layer| layer.starts[3] = 1));
        assert!(damaged(|layer| layer.links.push(0)));
    }
}
