//! Lakes as they are served: object stores, table formats, text files and earlier versions.

mod as_of;
mod store;
mod table_store;
mod text_keys;
