//! Publications of roles that are not superusers: who may publish what, and attempts to publish more.

mod arguments;
mod calls;
mod changes;
mod filters;
mod replica_identity;
mod rights;
mod scopes;
