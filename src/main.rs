//! The one binary: see [`cruddur_messaging::commands`].

/// glibc's allocator takes a third of a request's time. In this one, what a thread frees it can take again at once, whichever
/// thread had taken it before: requests move between threads, and their memory is in the core's cache.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    // Where a machine gives huge pages unasked, an idle server uses a little of each: a third of its memory.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    cruddur_messaging::commands::main()
}
