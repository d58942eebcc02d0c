//! What each policy keeps of the same stream: three periods of ten interactions, places for six.

use std::error::Error;

use spring_memory::{BufferItem, BufferPolicyConfig, ResidualBuffer, VectorStore};

fn main() -> Result<(), Box<dyn Error>> {
    let mut vectors = VectorStore::new(2);
    let mut items = Vec::new();
    for key in 0..30u64 {
        let period = (key / 10) as u32 + 1;
        // The second period is the surprising one.
        let novelty = if period == 2 { 0.4 } else { 0.1 } + (key % 10) as f64 * 0.01;
        let quality = -3.0 + ((key * 7) % 10) as f64 * 0.05;
        items.push(BufferItem::new(key, period, novelty, quality, novelty + 0.5 * quality));
        let angle = (key * key % 31) as f32 / 5.0;
        vectors.add(key, &[angle.cos(), angle.sin()])?;
    }
    for config in [
        BufferPolicyConfig::Residual,
        BufferPolicyConfig::Reservoir { seed: 1 },
        BufferPolicyConfig::Recency,
        BufferPolicyConfig::BalancedPeriods,
        BufferPolicyConfig::Diversity,
    ] {
        let mut buffer = ResidualBuffer::with_policy(6, config.init()?);
        let mut last = None;
        for period in items.chunks(10) {
            last = buffer.update(period.to_vec(), &vectors)?.pop();
        }
        let kept: Vec<u64> = buffer.items().map(|item| item.key).collect();
        println!("{:17} keeps {kept:?}", buffer.policy().name());
        if let Some(evicted) = last {
            println!("{:17} let {} go: {}", "", evicted.item.key, evicted.reason);
        }
    }
    Ok(())
}
