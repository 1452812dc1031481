//! Entry: everything is in `holdfast::cli`.

/// Most of what is allocated for a capture by one thread is freed by another, which the system's
/// allocator does under a lock.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    holdfast::cli::main()
}
