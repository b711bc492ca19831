//! What lab VMs boot: Debian's cloud kernel and a busybox initramfs with the virtio drivers.
//!
//! The kernel is fetched once, through apt, into the cache folder (`target/lab`, or where
//! `LAB_CACHE` says); nothing is installed. Several tests may ask at once: one builds, the others
//! wait.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cpio::Archive;
use super::slot::Slot;
use super::{package, shell};

/// A kernel and the initramfs that goes with it.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The kernel, as QEMU's `-kernel` takes it.
    pub(crate) kernel: PathBuf,
    /// The archive with busybox, the drivers and `guest-init.sh`.
    pub(crate) initramfs: PathBuf,
    /// Where libvirtd notes what this machine's QEMU can do, which takes it 1.5 s to find out.
    pub(crate) capabilities: PathBuf,
}

impl Image {
    /// The image in the cache, built now if it is not there.
    pub(crate) fn ready() -> Result<Self> {
        let cache = cache()?;
        let _alone = Slot::alone(&format!("image-{:016x}", hash_of(&cache)))?;
        let kernel = match kernel_in(&cache)? {
            Some(found) => found,
            None => fetch_kernel(&cache)?,
        };
        let initramfs = initramfs_of(&kernel)?;
        let capabilities = cache.join("capabilities");
        fs::create_dir_all(&capabilities)?;
        Ok(Self { kernel: kernel.join("vmlinuz"), initramfs, capabilities })
    }
}

/// Where kernels and initramfs files are kept between runs.
fn cache() -> Result<PathBuf> {
    let path = std::env::var_os(CACHE_VARIABLE)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab"), PathBuf::from);
    fs::create_dir_all(&path)
        .and_then(|()| path.canonicalize())
        .with_context(|| format!("cannot make the cache folder {}", path.display()))
}

/// The newest kernel folder that was finished.
fn kernel_in(cache: &Path) -> Result<Option<PathBuf>> {
    let mut kernels = Vec::new();
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        let named =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(KERNEL_PREFIX));
        if named && path.join("vmlinuz").is_file() {
            kernels.push(path);
        }
    }
    kernels.sort();
    Ok(kernels.pop())
}

/// Fetches the package that Debian's cloud kernel is in and takes the kernel and the drivers out of
/// it.
fn fetch_kernel(cache: &Path) -> Result<PathBuf> {
    let package = kernel_package().or_else(|_| {
        // A fresh machine has no package lists yet.
        package::update()?;
        kernel_package()
    })?;
    let folder = tempfile::Builder::new().prefix("fetch-").tempdir_in(cache)?;
    package::fetch(&package, folder.path())?;
    let unpacked = folder.path().join("unpacked");
    package::unpack(folder.path(), &PARTS, &unpacked)?;
    let kernel = gather(&unpacked, &folder.path().join("kernel"))?;
    let home = cache.join(format!("{KERNEL_PREFIX}{}", package.trim_start_matches("linux-image-")));
    fs::rename(&kernel, &home)
        .with_context(|| format!("cannot put the kernel at {}", home.display()))?;
    Ok(home)
}

/// The package that the meta package stands for today.
fn kernel_package() -> Result<String> {
    let printed = shell::run("apt-cache", &["depends", KERNEL_META], ASK_LIMIT)?;
    let name = printed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"));
    name.map(str::to_owned)
        .with_context(|| format!("apt knows no kernel behind {KERNEL_META}: run apt-get update"))
}

/// Collects `vmlinuz` and the plain `.ko` files of [`MODULES`] from the unpacked package into
/// `home`.
fn gather(unpacked: &Path, home: &Path) -> Result<PathBuf> {
    fs::create_dir_all(home)?;
    let unpacked = unpacked.to_string_lossy();
    let printed = shell::run("find", &[&unpacked, "-type", "f"], ASK_LIMIT)?;
    for path in printed.lines().map(Path::new) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("vmlinuz-") {
            fs::copy(path, home.join("vmlinuz"))?;
        }
        let Some((module, packing)) = name.split_once(".ko") else {
            continue;
        };
        if MODULES.contains(&module) {
            fs::write(home.join(format!("{module}.ko")), plain(path, packing)?)?;
        }
    }
    if !home.join("vmlinuz").is_file() {
        bail!("the package of {KERNEL_META} holds no vmlinuz");
    }
    Ok(home.to_path_buf())
}

/// Debian 13 packs modules, Debian 12 does not; busybox' insmod takes plain ones.
fn plain(path: &Path, packing: &str) -> Result<Vec<u8>> {
    let unpacker = match packing {
        "" => return Ok(fs::read(path)?),
        ".xz" => "xz",
        ".zst" => "zstd",
        ".gz" => "gzip",
        other => bail!("{} is packed as {other:?}: expected .xz, .zst or .gz", path.display()),
    };
    let output = std::process::Command::new(unpacker).arg("-dc").arg(path).output();
    let output = output.with_context(|| format!("cannot run {unpacker}: is it installed?"))?;
    if !output.status.success() {
        bail!("{unpacker} cannot unpack {}", path.display());
    }
    Ok(output.stdout)
}

/// The initramfs for a kernel, named by its content so that another init script is another file.
fn initramfs_of(kernel: &Path) -> Result<PathBuf> {
    let archive = archive_of(kernel)?;
    let path = kernel.join(format!("initramfs-{:016x}.cpio", hash_of(&archive)));
    if !path.is_file() {
        let unfinished = kernel.join("initramfs.new");
        fs::write(&unfinished, &archive)?;
        fs::rename(&unfinished, &path)?;
    }
    Ok(path)
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn archive_of(kernel: &Path) -> Result<Vec<u8>> {
    let busybox = fs::read(BUSYBOX).with_context(|| format!("cannot read {BUSYBOX}"))?;
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules", "proc", "run", "sys"] {
        archive.folder(folder);
    }
    archive.device("dev/console", (5, 1));
    archive.file("bin/busybox", &busybox);
    archive.link("bin/sh", "busybox");
    archive.file("init", include_bytes!("guest-init.sh"));
    archive.file("modules/order", MODULES.join("\n").as_bytes());
    for module in MODULES {
        let path = kernel.join(format!("{module}.ko"));
        if path.is_file() {
            archive.file(&format!("modules/{module}.ko"), &fs::read(path)?);
        }
    }
    Ok(archive.finish())
}

/// In the order in which they must be loaded; what a kernel has built in is skipped.
const MODULES: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_balloon",
    "virtio_blk",
    "virtio_console",
];

/// The kernel and three folders of drivers, not the hundred others.
const PARTS: [&str; 4] =
    ["*/vmlinuz-*", "*/drivers/virtio/*", "*/drivers/block/*", "*/drivers/char/*"];

/// Depends on whatever cloud kernel is current: small, with serial console and virtio.
const KERNEL_META: &str = "linux-image-cloud-amd64";

/// What folders of kernels in the cache begin with; the number changes with what is taken from a
/// package.
const KERNEL_PREFIX: &str = "kernel2-";

/// Where Debian's `busybox-static` puts it.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// Sets another cache folder.
const CACHE_VARIABLE: &str = "LAB_CACHE";

/// For questions that need no network.
const ASK_LIMIT: Duration = Duration::from_secs(60);
