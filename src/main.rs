//! The one binary: see [`cruddur_messaging::commands`].

/// glibc's allocator takes a third of a request's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // The allocator asks for huge pages, of which an idle server uses a little each: a third of its memory.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    cruddur_messaging::commands::main()
}
