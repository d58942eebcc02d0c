use crate::error::Result;
use crate::panel::{get_lane, panel_bytes, set_lane};
use crate::simd::LANES;
use crate::{BlockFormat, GgufFile, dequantise};

/// A matrix of weights, kept in its blocks.
///
/// The blocks lie in another order than in the file, 16 rows side by side, so that products read
/// memory from front to back and each block once; the size is that of the file's blocks, with the
/// number of rows rounded up to a multiple of 16.
#[derive(Clone)]
pub struct Matrix {
    format: BlockFormat,
    rows: usize,
    columns: usize,
    panels: Vec<u8>,
}

impl Matrix {
    /// Rows that lie side by side in memory; products are cut into parts at multiples of it.
    pub const PANEL: usize = LANES;

    /// Packs rows as a file stores them; none if the columns are not whole blocks, there is no
    /// value, or `bytes` is not as long as the shape asks.
    ///
    /// ```
    /// use spring_gguf::{BlockFormat, Matrix};
    ///
    /// let numbers = [1.0f32, 2.0, 3.0, 4.0];
    /// let rows: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
    /// let matrix = Matrix::from_bytes(BlockFormat::F32, 2, 2, &rows).unwrap();
    /// let mut row = [0.0; 2];
    /// matrix.row(1, &mut row);
    /// assert_eq!(row, [3.0, 4.0]);
    /// ```
    pub fn from_bytes(
        format: BlockFormat,
        rows: usize,
        columns: usize,
        bytes: &[u8],
    ) -> Option<Matrix> {
        let mut matrix = Matrix::empty(format, rows, columns)?;
        let row_bytes = matrix.row_bytes();
        if bytes.len() != rows.checked_mul(row_bytes)? {
            return None;
        }
        for (row, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
            matrix.set_row(row, bytes);
        }
        Some(matrix)
    }

    fn empty(format: BlockFormat, rows: usize, columns: usize) -> Option<Matrix> {
        if rows == 0 || columns == 0 || !columns.is_multiple_of(format.block_len()) {
            return None;
        }
        let panels = vec![0; rows.div_ceil(LANES).checked_mul(panel_bytes(format, columns))?];
        Some(Matrix { format, rows, columns, panels })
    }

    fn set_row(&mut self, row: usize, bytes: &[u8]) {
        let size = self.panel_bytes();
        let panel = &mut self.panels[row / LANES * size..][..size];
        set_lane(self.format, bytes, row % LANES, panel);
    }

    /// How the values are stored.
    pub fn format(&self) -> BlockFormat {
        self.format
    }

    /// Rows: the outputs of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the inputs of a product.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of memory that the weights take.
    pub fn bytes(&self) -> usize {
        self.panels.len()
    }

    /// A row's blocks as the file stores them.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row_blocks(&self, row: usize) -> Vec<u8> {
        assert!(row < self.rows, "row {row} of a matrix with {}", self.rows);
        let mut blocks = vec![0; self.row_bytes()];
        get_lane(self.format, self.panel(row / LANES), row % LANES, &mut blocks);
        blocks
    }

    /// A row's values.
    ///
    /// # Panics
    ///
    /// If there is no such row, or `out` is not as long as there are columns.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        dequantise(self.format, &self.row_blocks(row), out);
    }

    fn row_bytes(&self) -> usize {
        self.columns / self.format.block_len() * self.format.block_bytes()
    }

    fn panel_bytes(&self) -> usize {
        panel_bytes(self.format, self.columns)
    }

    /// The number of panels: groups of 16 rows, the last one filled up.
    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    pub(crate) fn panel(&self, panel: usize) -> &[u8] {
        let size = self.panel_bytes();
        &self.panels[panel * size..][..size]
    }

    /// A panel and all after it.
    pub(crate) fn panels_from(&self, panel: usize) -> &[u8] {
        &self.panels[panel * self.panel_bytes()..]
    }
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Matrix({} × {}, {})", self.rows, self.columns, self.format)
    }
}

/// Bytes of a tensor that are read before they are packed.
const READ: u64 = 1 << 20;

impl GgufFile {
    /// Reads a tensor as a matrix; of more than two dimensions all but the innermost make rows.
    ///
    /// # Errors
    ///
    /// If there is no such tensor, its format is not read, or reading fails.
    pub fn matrix(&self, name: &str) -> Result<Matrix> {
        self.matrix_in_order(name, |row| row)
    }

    /// [`GgufFile::matrix`] with its rows in another order: row `r` is the file's row `order(r)`.
    ///
    /// # Errors
    ///
    /// As [`GgufFile::matrix`], and if `order` names a row that is not there.
    pub fn matrix_in_order(&self, name: &str, order: impl Fn(usize) -> usize) -> Result<Matrix> {
        let tensor = self.tensor(name)?;
        let format = self.format(tensor)?;
        let wrong = |problem: &str| self.at_tensor(tensor.shard, name, problem.to_owned());
        let size = |n: u64| usize::try_from(n).ok();
        let matrix = size(tensor.rows())
            .zip(size(tensor.columns()))
            .and_then(|(rows, columns)| Matrix::empty(format, rows, columns));
        let mut matrix = matrix.ok_or_else(|| wrong("is too large for this machine"))?;
        // Where each of the file's rows goes.
        let mut place = vec![usize::MAX; matrix.rows];
        for row in 0..matrix.rows {
            match place.get_mut(order(row)) {
                Some(place) => *place = row,
                None => return Err(wrong("has fewer rows than the heads in the metadata need")),
            }
        }
        let row_bytes = matrix.row_bytes();
        let step = (READ / row_bytes as u64).max(1);
        let (mut from, mut buffer) = (0, Vec::new());
        while from < tensor.rows() {
            let to = (from + step).min(tensor.rows());
            self.read_rows(tensor, from..to, &mut buffer)?;
            for (bytes, &row) in buffer.chunks_exact(row_bytes).zip(&place[from as usize..]) {
                if row < matrix.rows {
                    matrix.set_row(row, bytes);
                }
            }
            from = to;
        }
        Ok(matrix)
    }
}
