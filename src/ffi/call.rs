//! The call of an SQL function, as the function manager describes it.

use std::marker::PhantomData;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

/// The call that is running. Only the function manager makes one, so what it points to is valid.
#[derive(Clone, Copy)]
pub struct Call<'a>(pg_sys::FunctionCallInfo, PhantomData<&'a ()>);

impl Call<'_> {
    pub(super) fn info(&self) -> pg_sys::FunctionCallInfo {
        self.0
    }
}

// SAFETY: no argument of SQL: pgrx hands over the call itself, as it does for FunctionCallInfo.
unsafe impl<'fcx> ArgAbi<'fcx> for Call<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as pgrx calls this.
        Self(unsafe { pg_sys::FunctionCallInfo::unbox_arg_unchecked(arg) }, PhantomData)
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: stands for no type of SQL.
unsafe impl SqlTranslatable for Call<'_> {
    const TYPE_IDENT: &'static str = "pgmig_extras::Call";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Err(ReturnsError::Datum);
}
