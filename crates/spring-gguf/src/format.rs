/// How a tensor's values are stored: plain numbers, or blocks of small integers with scales.
///
/// A block covers consecutive values of one row; see [`BlockFormat::block_len`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[allow(non_camel_case_types)] // the names under which these formats are known
pub enum BlockFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit floats (IEEE half precision).
    F16,
    /// 16-bit floats with the exponent of 32-bit ones.
    BF16,
    /// 4 bits and a scale per 32 values.
    Q4_0,
    /// 4 bits, a scale and a minimum per 32 values.
    Q4_1,
    /// 5 bits and a scale per 32 values.
    Q5_0,
    /// 5 bits, a scale and a minimum per 32 values.
    Q5_1,
    /// 8 bits and a scale per 32 values.
    Q8_0,
    /// 2 bits, with 4-bit scales and minima per 16 values.
    Q2_K,
    /// 3 bits, with 6-bit scales per 16 values.
    Q3_K,
    /// 4 bits, with 6-bit scales and minima per 32 values.
    Q4_K,
    /// 5 bits, with 6-bit scales and minima per 32 values.
    Q5_K,
    /// 6 bits, with 8-bit scales per 16 values.
    Q6_K,
    /// 4-bit indices into a table of 16 levels, and a scale per 32 values.
    IQ4_NL,
    /// 4-bit indices into a table of 16 levels, with 6-bit scales per 32 values.
    IQ4_XS,
    /// 4-bit floats, and a power of two per 32 values (OCP microscaling).
    MXFP4,
}

/// `count` integers of `unit` bytes each: a part of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) unit: usize,
    pub(crate) count: usize,
}

const fn field(unit: usize, count: usize) -> Field {
    Field { unit, count }
}

impl BlockFormat {
    /// Every format that is read.
    pub const ALL: [BlockFormat; 16] = [
        BlockFormat::F32,
        BlockFormat::F16,
        BlockFormat::BF16,
        BlockFormat::Q4_0,
        BlockFormat::Q4_1,
        BlockFormat::Q5_0,
        BlockFormat::Q5_1,
        BlockFormat::Q8_0,
        BlockFormat::Q2_K,
        BlockFormat::Q3_K,
        BlockFormat::Q4_K,
        BlockFormat::Q5_K,
        BlockFormat::Q6_K,
        BlockFormat::IQ4_NL,
        BlockFormat::IQ4_XS,
        BlockFormat::MXFP4,
    ];

    /// The format's number in a file.
    pub fn id(self) -> u32 {
        match self {
            BlockFormat::F32 => 0,
            BlockFormat::F16 => 1,
            BlockFormat::Q4_0 => 2,
            BlockFormat::Q4_1 => 3,
            BlockFormat::Q5_0 => 6,
            BlockFormat::Q5_1 => 7,
            BlockFormat::Q8_0 => 8,
            BlockFormat::Q2_K => 10,
            BlockFormat::Q3_K => 11,
            BlockFormat::Q4_K => 12,
            BlockFormat::Q5_K => 13,
            BlockFormat::Q6_K => 14,
            BlockFormat::IQ4_NL => 20,
            BlockFormat::IQ4_XS => 23,
            BlockFormat::BF16 => 30,
            BlockFormat::MXFP4 => 39,
        }
    }

    /// The format with a number, where it is one that is read.
    pub fn from_id(id: u32) -> Option<BlockFormat> {
        BlockFormat::ALL.into_iter().find(|format| format.id() == id)
    }

    /// The format's usual name, as in `Q4_K`.
    pub fn name(self) -> &'static str {
        match self {
            BlockFormat::F32 => "F32",
            BlockFormat::F16 => "F16",
            BlockFormat::BF16 => "BF16",
            BlockFormat::Q4_0 => "Q4_0",
            BlockFormat::Q4_1 => "Q4_1",
            BlockFormat::Q5_0 => "Q5_0",
            BlockFormat::Q5_1 => "Q5_1",
            BlockFormat::Q8_0 => "Q8_0",
            BlockFormat::Q2_K => "Q2_K",
            BlockFormat::Q3_K => "Q3_K",
            BlockFormat::Q4_K => "Q4_K",
            BlockFormat::Q5_K => "Q5_K",
            BlockFormat::Q6_K => "Q6_K",
            BlockFormat::IQ4_NL => "IQ4_NL",
            BlockFormat::IQ4_XS => "IQ4_XS",
            BlockFormat::MXFP4 => "MXFP4",
        }
    }

    /// Values per block; 1 for plain numbers.
    pub fn block_len(self) -> usize {
        match self {
            BlockFormat::F32 | BlockFormat::F16 | BlockFormat::BF16 => 1,
            BlockFormat::Q2_K
            | BlockFormat::Q3_K
            | BlockFormat::Q4_K
            | BlockFormat::Q5_K
            | BlockFormat::Q6_K
            | BlockFormat::IQ4_XS => 256,
            _ => 32,
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.fields().iter().map(|field| field.unit * field.count).sum()
    }

    /// Whether values are stored as plain floats, one by one.
    pub fn is_float(self) -> bool {
        self.block_len() == 1
    }

    /// Bytes of `values` values, a multiple of [`BlockFormat::block_len`]; none on overflow.
    pub fn bytes_of(self, values: u64) -> Option<u64> {
        (values / self.block_len() as u64).checked_mul(self.block_bytes() as u64)
    }

    /// A block's parts in the order in which they are stored.
    pub(crate) fn fields(self) -> &'static [Field] {
        const F32: &[Field] = &[field(4, 1)];
        const F16: &[Field] = &[field(2, 1)];
        // scale, values
        const Q4_0: &[Field] = &[field(2, 1), field(4, 4)];
        // scale, minimum, values
        const Q4_1: &[Field] = &[field(2, 1), field(2, 1), field(4, 4)];
        // scale, fifth bits, values
        const Q5_0: &[Field] = &[field(2, 1), field(4, 1), field(4, 4)];
        // scale, minimum, fifth bits, values
        const Q5_1: &[Field] = &[field(2, 1), field(2, 1), field(4, 1), field(4, 4)];
        // scale, values
        const Q8_0: &[Field] = &[field(2, 1), field(4, 8)];
        // scales and minima, values, scale of scales, scale of minima
        const Q2_K: &[Field] = &[field(1, 16), field(4, 16), field(2, 1), field(2, 1)];
        // third bits, values, scales, scale of scales
        const Q3_K: &[Field] = &[field(4, 8), field(4, 16), field(1, 12), field(2, 1)];
        // scale of scales, scale of minima, scales and minima, values
        const Q4_K: &[Field] = &[field(2, 1), field(2, 1), field(1, 12), field(4, 32)];
        // scale of scales, scale of minima, scales and minima, fifth bits, values
        const Q5_K: &[Field] = &[field(2, 1), field(2, 1), field(1, 12), field(4, 8), field(4, 32)];
        // low four bits, high two bits, scales, scale of scales
        const Q6_K: &[Field] = &[field(4, 32), field(4, 16), field(1, 16), field(2, 1)];
        // scale of scales, high bits of scales, low bits of scales, values
        const IQ4_XS: &[Field] = &[field(2, 1), field(2, 1), field(1, 4), field(4, 32)];
        // exponent, values
        const MXFP4: &[Field] = &[field(1, 1), field(4, 4)];
        match self {
            BlockFormat::F32 => F32,
            BlockFormat::F16 | BlockFormat::BF16 => F16,
            BlockFormat::Q4_0 | BlockFormat::IQ4_NL => Q4_0,
            BlockFormat::Q4_1 => Q4_1,
            BlockFormat::Q5_0 => Q5_0,
            BlockFormat::Q5_1 => Q5_1,
            BlockFormat::Q8_0 => Q8_0,
            BlockFormat::Q2_K => Q2_K,
            BlockFormat::Q3_K => Q3_K,
            BlockFormat::Q4_K => Q4_K,
            BlockFormat::Q5_K => Q5_K,
            BlockFormat::Q6_K => Q6_K,
            BlockFormat::IQ4_XS => IQ4_XS,
            BlockFormat::MXFP4 => MXFP4,
        }
    }

    /// The names of all formats that are read, with commas between.
    pub fn supported() -> String {
        BlockFormat::ALL.map(BlockFormat::name).join(", ")
    }
}

impl std::fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a type number that is not read, or its number where it has none.
pub(crate) fn other_name(id: u32) -> String {
    let name = match id {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        40 => "NVFP4",
        41 => "Q1_0",
        42 => "Q2_0",
        _ => return format!("type {id}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_are_the_format_s() {
        // Bytes per block as the format's definition states them.
        let bytes = [4, 2, 2, 18, 20, 22, 24, 34, 84, 110, 144, 176, 210, 18, 136, 17];
        for (format, bytes) in BlockFormat::ALL.into_iter().zip(bytes) {
            assert_eq!(format.block_bytes(), bytes, "{format}");
            assert_eq!(BlockFormat::from_id(format.id()), Some(format));
        }
        assert_eq!(BlockFormat::from_id(16), None);
        assert_eq!(other_name(16), "IQ2_XXS");
        assert_eq!(other_name(77), "type 77");
    }
}
