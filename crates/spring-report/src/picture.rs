//! A plot as a file of its own.

/// A plot in SVG, which every browser and paper takes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Picture {
    /// A name for its file, without an ending.
    pub name: String,
    /// The drawing.
    pub svg: String,
}

#[cfg(feature = "png")]
impl Picture {
    /// The same in pixels, as PNG; `scale` is how many pixels there are to a point of the drawing.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`](crate::Error::Picture) if the drawing cannot be turned into pixels of
    /// this number: `scale` is from 0.1 to 10.
    pub fn png(&self, scale: f32) -> crate::Result<Vec<u8>> {
        use resvg::{
            tiny_skia::{Pixmap, Transform},
            usvg::{Options, Tree},
        };

        let fail = |reason: String| crate::Error::Picture { plot: self.name.clone(), reason };
        if !(0.1..=10.0).contains(&scale) {
            return Err(fail(format!("scale {scale}: from 0.1 to 10")));
        }
        let mut options = Options { font_family: FAMILY.into(), ..Options::default() };
        let fonts = options.fontdb_mut();
        fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
        fonts.load_font_data(epaint_default_fonts::HACK_REGULAR.to_vec());
        fonts.set_sans_serif_family(FAMILY);
        let tree = Tree::from_str(&self.svg, &options).map_err(|error| fail(error.to_string()))?;
        let size = tree.size().to_int_size().scale_by(scale);
        let pixels = size.and_then(|size| Pixmap::new(size.width(), size.height()));
        let mut pixels = pixels.ok_or_else(|| fail("it has no extent".into()))?;
        resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
        pixels.encode_png().map_err(|error| fail(error.to_string()))
    }
}

/// The font of the words; signs that it lacks come from the other one.
#[cfg(feature = "png")]
const FAMILY: &str = "Ubuntu";
