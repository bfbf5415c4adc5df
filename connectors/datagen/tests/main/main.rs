//! The connector as the engine sees it.

#[cfg(test)]
mod datagen;
#[cfg(test)]
mod host;
#[cfg(test)]
mod keys;
