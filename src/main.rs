//! The binary: see [`cruddur_messaging::commands`].

/// With glibc's allocator, a third of the CPU time of a request was allocation. In jemalloc, a thread can reuse memory that it has
/// freed at once, even if another thread allocated it; requests move between threads.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    // With transparent huge pages, an idle server would use only a part of each page: a third of its memory would be waste.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    cruddur_messaging::commands::main()
}
