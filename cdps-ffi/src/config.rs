//! Configurations: settings by name, with which nodes are opened and ports are created.

use std::ffi::c_char;
use std::ptr;

use parking_lot::Mutex;

use crate::error::{CDPS_E_INVALID, CDPS_E_NOT_FOUND, Failure, cdps_error_t};
use crate::guard::{guard, guard_detail};
use crate::handle::{Kind, Table};
use crate::key::{KEYS, Shape};
use crate::settings::Settings;
use crate::sized::{self, Sized32, own_size};
use crate::strings;
use crate::types::cdps_config_t;

/// cdps_config_key_t.type: any text.
pub const CDPS_CONFIG_TEXT: i32 = 1;
/// cdps_config_key_t.type: a whole number.
pub const CDPS_CONFIG_NUMBER: i32 = 2;
/// cdps_config_key_t.type: "true" or "false".
pub const CDPS_CONFIG_BOOL: i32 = 3;
/// cdps_config_key_t.type: one of some words.
pub const CDPS_CONFIG_CHOICE: i32 = 4;
/// cdps_config_key_t.type: addresses or nodes, several.
pub const CDPS_CONFIG_LIST: i32 = 5;

/// A configuration key. All texts are static.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_config_key_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// CDPS_CONFIG_*.
    pub r#type: i32,
    /// Name. Keys of ports begin with "port.", all others belong to nodes.
    pub name: *const c_char,
    /// What holds if it is not set; NULL: it must be set.
    pub default_value: *const c_char,
    /// "LOW..HIGH" for numbers, "word|word" for choices, a description else.
    pub range: *const c_char,
    /// "ms", "bytes" ...; may be empty.
    pub unit: *const c_char,
    /// What it does. With "live" at the end it can be changed on a live port, with cdps_port_reconfigure().
    pub help: *const c_char,
}

// SAFETY: integers and pointers only.
unsafe impl Sized32 for cdps_config_key_t {
    const NAME: &'static str = "cdps_config_key_t";
    const FIRST_SIZE: usize = 48;
}

static CONFIGS: Table<Mutex<Settings>> = Table::new(Kind::Config);

/// Makes an empty configuration.
///
/// @param out  stores the handle; the user's, until cdps_config_destroy().
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_LIMIT, #CDPS_E_FORKED.
///
/// Threads: any; a configuration may be used by several threads. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_config_create(out: *mut *mut cdps_config_t) -> i32 {
    guard(|| {
        if out.is_null() {
            return Err(Failure::bare(CDPS_E_INVALID));
        }
        let reserved = CONFIGS.reserve()?;
        // SAFETY: not NULL, so the caller promises that it is writable.
        unsafe { out.write_unaligned(ptr::without_provenance_mut(reserved.handle())) };
        reserved.fill(Mutex::new(Settings::default()));
        Ok(())
    })
}

/// Sets a key. The value is checked alone here; together with the others when it is used.
///
/// A configuration may hold keys of nodes and of ports: each call takes what is its own. An unknown key is refused, and the error text
/// names the nearest known one.
///
/// @param config  the configuration.
/// @param key     name, as cdps_config_describe() lists them.
/// @param value   text; numbers in decimal digits.
/// @param err     detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNKNOWN_KEY, #CDPS_E_BAD_VALUE, #CDPS_E_UNSUPPORTED (a value that
///         only a later version has), #CDPS_E_FORKED. On failure the key keeps its value.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_config_set(
    config: *mut cdps_config_t,
    key: *const c_char,
    value: *const c_char,
    err: *mut cdps_error_t,
) -> i32 {
    let body = || {
        let settings = CONFIGS.get(config.addr())?;
        // SAFETY: the header asks for texts that end with NUL, or NULL.
        let (key, value) = unsafe { (strings::text(key, "key")?, strings::text(value, "value")?) };
        settings.lock().set(key, value)
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

/// Value of a key: what was set, or the default.
///
/// @param config  the configuration.
/// @param key     name.
/// @param buf     where the text and its NUL go; NULL with `cap` 0 asks for the length alone.
/// @param cap     size of `buf`, in bytes.
/// @param need    stores the length without the NUL; may be NULL if `buf` is given.
/// @param err     detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNKNOWN_KEY, #CDPS_E_MISSING_KEY (not set, and no default),
///         #CDPS_E_BUFFER, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_config_get(
    config: *const cdps_config_t,
    key: *const c_char,
    buf: *mut c_char,
    cap: usize,
    need: *mut usize,
    err: *mut cdps_error_t,
) -> i32 {
    let body = || {
        let settings = CONFIGS.get(config.addr())?;
        // SAFETY: the header asks for a text that ends with NUL, or NULL.
        let key = unsafe { strings::text(key, "key")? };
        let settings = settings.lock();
        let value = settings.get(key)?;
        // SAFETY: the header asks for `cap` writable bytes, or NULL.
        unsafe { strings::store(value, buf, cap, need) }
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

/// Lists the keys.
///
/// @param index  0, 1, ... until #CDPS_E_NOT_FOUND.
/// @param out    stores the description; `struct_size` must be set.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_NOT_FOUND, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_config_describe(index: usize, out: *mut cdps_config_key_t) -> i32 {
    guard(|| {
        let found = KEYS.get(index).ok_or(Failure::bare(CDPS_E_NOT_FOUND));
        let key = found?;
        let described = cdps_config_key_t {
            struct_size: own_size::<cdps_config_key_t>(),
            r#type: match key.shape {
                Shape::Text => CDPS_CONFIG_TEXT,
                Shape::Number => CDPS_CONFIG_NUMBER,
                Shape::Bool => CDPS_CONFIG_BOOL,
                Shape::Choice => CDPS_CONFIG_CHOICE,
                Shape::Ips | Shape::Sockets | Shape::Nodes | Shape::Targets => CDPS_CONFIG_LIST,
            },
            name: key.name.as_ptr(),
            default_value: key.default.map_or(ptr::null(), std::ffi::CStr::as_ptr),
            range: key.range.as_ptr(),
            unit: key.unit.as_ptr(),
            help: key.help.as_ptr(),
        };
        // SAFETY: the header asks for a structure of `struct_size` writable bytes, or NULL.
        unsafe { sized::write(out, &described) }
    })
}

/// Frees a configuration. Nodes and ports made with it are not affected: they copied it.
///
/// @param config  the configuration; NULL is allowed and does nothing.
/// @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
pub extern "C" fn cdps_config_destroy(config: *mut cdps_config_t) -> i32 {
    guard(|| if config.is_null() { Ok(()) } else { CONFIGS.take(config.addr()).map(|_| ()) })
}

/// The settings of a handle, as they are now.
pub(crate) fn copy(config: *const cdps_config_t) -> Result<Settings, Failure> {
    Ok(CONFIGS.get(config.addr())?.lock().clone())
}
