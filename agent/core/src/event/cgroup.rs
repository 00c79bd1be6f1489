//! What the path of a control group says: unit, container and pod.
//!
//! Units: systemd.unit(5) and the layout of `systemd-cgls`. Containers: the names that Docker,
//! containerd, CRI-O, Podman, LXC and systemd-nspawn give to their groups, below systemd
//! (`docker-ID.scope`) and without it (`docker/ID`). Pods: the two drivers of the kubelet.

use super::{Container, Pod};

/// LIMIT: bytes of a name in the path, the longest file name of Linux. A longer one is no group.
const MAX_NAME_BYTES: usize = 255;

/// Bytes of the ids of containers of the OCI runtimes: 256 bits in hexadecimal digits.
const ID_BYTES: usize = 64;

/// LIMIT: bytes of a pod's id. UUIDs have 36.
const MAX_POD_BYTES: usize = 64;

/// What runs a container, by the word before its id.
const PREFIXES: [(&str, &str); 8] = [
    ("docker", "docker"),
    ("cri-containerd", "containerd"),
    ("nerdctl", "containerd"),
    ("containerd", "containerd"),
    ("crio", "cri-o"),
    ("libpod-payload", "podman"),
    ("libpod", "podman"),
    ("libpod_parent", "podman"),
];

/// Units of what runs containers: those are not theirs.
const RUNTIMES: [&str; 6] = [
    "containerd.service",
    "crio.service",
    "docker.service",
    "k3s.service",
    "kubelet.service",
    "rke2-server.service",
];

/// Where a process runs, as far as the path of its control group tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The innermost unit of systemd, as it is written; that of a container itself does not count.
    pub unit: Option<String>,
    /// The innermost container, without what only the host's files tell.
    pub container: Option<Container>,
}

impl Placement {
    /// Reads a path, of the unified hierarchy or of one of version 1.
    pub fn of(cgroup: &str) -> Self {
        let mut placement = Self::default();
        let mut pod = None;
        let mut before = "";
        let names: Vec<&str> = cgroup
            .split('/')
            .filter(|name| !name.is_empty() && name.len() <= MAX_NAME_BYTES)
            .collect();
        for (at, name) in names.iter().enumerate() {
            // Without systemd's driver, containerd writes SLICE:PREFIX:ID.
            for part in name.split(':') {
                pod = pod_of(part).or(pod);
                let below = names.get(at + 1).copied().unwrap_or_default();
                if let Some(container) = container_of(part, before, below) {
                    placement.container = Some(container);
                    let is_runtime = |unit: &mut String| RUNTIMES.contains(&unit.as_str());
                    placement.unit.take_if(is_runtime);
                } else if is_unit(part) {
                    placement.unit = Some(part.to_owned());
                }
                before = part;
            }
        }
        if let Some(container) = &mut placement.container {
            container.pod = pod;
        }
        placement
    }
}

/// Services and scopes are units in which processes are; slices only hold those. The scopes in
/// which containers and their monitors run bear ids.
fn is_unit(name: &str) -> bool {
    let Some((stem, kind)) = name.rsplit_once('.') else {
        return false;
    };
    let names_container = stem.rsplit_once('-').is_some_and(|(_, id)| is_id(id));
    matches!(kind, "service" | "scope") && !stem.is_empty() && !names_container
}

/// The container that a group belongs to, from its name and those around it.
fn container_of(name: &str, before: &str, below: &str) -> Option<Container> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    if is_id(stem) {
        return Some(with_id(runtime(before).unwrap_or_default(), stem));
    }
    if let Some((prefix, id)) = stem.rsplit_once('-')
        && is_id(id)
    {
        // `libpod-conmon-ID` and `crio-conmon-ID` hold a monitor, outside of the container.
        return runtime(prefix).map(|runtime| with_id(runtime, id));
    }
    if let Some(named) = name.strip_prefix("lxc.payload.") {
        return named_container("lxc", named);
    }
    if matches!(before, "lxc" | "lxc.payload") {
        return named_container("lxc", name);
    }
    if let Some(machine) = name.strip_prefix("systemd-nspawn@") {
        // `supervisor` holds systemd-nspawn itself.
        return machine
            .strip_suffix(".service")
            .filter(|_| below != "supervisor")
            .and_then(|machine| named_container("systemd-nspawn", machine));
    }
    let machine = name.strip_prefix("machine-")?.strip_suffix(".scope")?;
    if let Some(named) = machine.strip_prefix("lxc\\x2d") {
        return named_container("lxc", named);
    }
    // A virtual machine's processes are the host's.
    let is_guest = machine.starts_with("qemu\\x2d") || below == "libvirt" || below == "supervisor";
    named_container("systemd-nspawn", machine).filter(|_| !is_guest)
}

fn runtime(prefix: &str) -> Option<&'static str> {
    let mut prefixes = PREFIXES.iter();
    prefixes
        .find(|(known, _)| *known == prefix)
        .map(|(_, runtime)| *runtime)
}

fn with_id(runtime: &str, id: &str) -> Container {
    Container {
        runtime: runtime.to_owned(),
        id: id.to_owned(),
        ..Container::default()
    }
}

fn named_container(runtime: &str, name: &str) -> Option<Container> {
    (!name.is_empty()).then(|| Container {
        name: Some(name.to_owned()),
        ..with_id(runtime, name)
    })
}

fn is_id(text: &str) -> bool {
    text.len() == ID_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The pod of a group: `kubepods-burstable-podID.slice`, in which hyphens of the id are written as
/// underscores, or `podID`.
fn pod_of(name: &str) -> Option<Pod> {
    let id = match name.strip_suffix(".slice") {
        Some(slice) => slice
            .strip_prefix("kubepods")
            .and_then(|rest| rest.rsplit_once("-pod"))
            .map(|(_, id)| id),
        None => name.strip_prefix("pod"),
    }?;
    let is_valid = (1..=MAX_POD_BYTES).contains(&id.len())
        && id.contains(|character: char| character.is_ascii_digit())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_valid.then(|| Pod {
        uid: id.replace('_', "-"),
        ..Pod::default()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d";
    const UID: &str = "72f7f152-440c-66ac-9084-e0fc1d8a910c";

    fn placement(path: &str) -> Placement {
        let underscored = UID.replace('-', "_");
        let path = path.replace("<uid_>", &underscored);
        Placement::of(&path.replace("<id>", ID).replace("<uid>", UID))
    }

    fn unit(name: &str) -> Placement {
        Placement {
            unit: Some(name.to_owned()),
            container: None,
        }
    }

    fn container(runtime: &str) -> Container {
        with_id(runtime, ID)
    }

    fn only(container: Container) -> Placement {
        Placement {
            unit: None,
            container: Some(container),
        }
    }

    #[test]
    fn the_unit_is_the_innermost_as_it_is_written() {
        for (path, name) in [
            ("/system.slice/cron.service", "cron.service"),
            ("/system.slice/nightly.service/worker", "nightly.service"),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                "getty@tty1.service",
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                "session-3.scope",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service",
                "foo.service",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1c8f.scope",
                "vte-spawn-1c8f.scope",
            ),
            (
                "/system.slice/dev\\x2dagent.service",
                "dev\\x2dagent.service",
            ),
            ("/init.scope", "init.scope"),
            // Version 1, in systemd's own hierarchy.
            ("/../system.slice/cron.service", "cron.service"),
        ] {
            assert_eq!(placement(path), unit(name), "{path}");
        }
        for path in [
            "",
            "/",
            "/user.slice/user-1000.slice",
            "/.service",
            "/a.slice",
        ] {
            assert_eq!(placement(path), Placement::default(), "{path}");
        }
    }

    #[test]
    fn a_container_is_told_by_the_names_of_its_runtime() {
        for (path, runtime) in [
            ("/system.slice/docker-<id>.scope", "docker"),
            (
                "/user.slice/user-1000.slice/docker-<id>.scope/init",
                "docker",
            ),
            ("/docker/<id>", "docker"),
            ("/docker/<id>/system.slice", "docker"),
            ("/system.slice/nerdctl-<id>.scope", "containerd"),
            ("/machine.slice/libpod-<id>.scope/container", "podman"),
            ("/libpod_parent/libpod-<id>", "podman"),
            ("/<id>", ""),
            ("/system.slice/containerd.service/<id>", ""),
        ] {
            assert_eq!(placement(path), only(container(runtime)), "{path}");
        }
    }

    #[test]
    fn the_unit_that_a_container_belongs_to_or_that_runs_in_it_is_kept() {
        for (path, runtime, unit) in [
            (
                "/system.slice/nginx.service/libpod-payload-<id>",
                "podman",
                "nginx.service",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope/container",
                "podman",
                "user@1000.service",
            ),
            (
                "/system.slice/docker-<id>.scope/system.slice/app.service",
                "docker",
                "app.service",
            ),
        ] {
            let expected = Placement {
                unit: Some(unit.to_owned()),
                container: Some(container(runtime)),
            };
            assert_eq!(placement(path), expected, "{path}");
        }
    }

    #[test]
    fn a_monitor_of_containers_is_in_none() {
        for path in [
            "/machine.slice/libpod-conmon-<id>.scope",
            "/system.slice/crio-conmon-<id>.scope",
            "/lxc.monitor.web",
        ] {
            assert_eq!(placement(path), Placement::default(), "{path}");
        }
        assert_eq!(
            placement("/machine.slice/systemd-nspawn@web.service/supervisor"),
            unit("systemd-nspawn@web.service")
        );
        assert_eq!(
            placement("/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator"),
            unit("machine-qemu\\x2d1\\x2dweb.scope")
        );
    }

    #[test]
    fn a_pod_is_told_by_both_drivers_of_the_kubelet() {
        for (path, runtime) in [
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope",
                "containerd",
            ),
            (
                "/kubepods.slice/kubepods-pod<uid_>.slice/crio-<id>.scope/container",
                "cri-o",
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<uid_>.slice/docker-<id>.scope",
                "docker",
            ),
            ("/kubepods/besteffort/pod<uid>/<id>", ""),
            ("/kubepods/pod<uid>/crio-<id>", "cri-o"),
            (
                "/system.slice/containerd.service/kubepods-besteffort-pod<uid_>.slice:cri-containerd:<id>",
                "containerd",
            ),
        ] {
            let expected = Container {
                pod: Some(Pod {
                    uid: UID.to_owned(),
                    ..Pod::default()
                }),
                ..container(runtime)
            };
            assert_eq!(placement(path), only(expected), "{path}");
        }
        // A static pod's id is a hash.
        let path = "/kubepods/burstable/pod30556cce0f9211ebb36d02623cf324c8/<id>";
        let pod = placement(path)
            .container
            .and_then(|container| container.pod);
        assert_eq!(
            pod.map(|pod| pod.uid).as_deref(),
            Some("30556cce0f9211ebb36d02623cf324c8")
        );
    }

    #[test]
    fn machines_have_names_instead_of_ids() {
        let web = |runtime: &str| named_container(runtime, "web").unwrap();
        for (path, runtime) in [
            ("/lxc.payload.web", "lxc"),
            ("/lxc.payload/web", "lxc"),
            ("/lxc/web/ns", "lxc"),
            (
                "/machine.slice/systemd-nspawn@web.service/payload",
                "systemd-nspawn",
            ),
            ("/machine.slice/machine-web.scope", "systemd-nspawn"),
            ("/machine.slice/machine-lxc\\x2dweb.scope", "lxc"),
        ] {
            assert_eq!(placement(path), only(web(runtime)), "{path}");
        }
        assert_eq!(
            placement("/lxc.payload.web/system.slice/app.service"),
            Placement {
                unit: Some("app.service".to_owned()),
                container: Some(web("lxc")),
            }
        );
    }

    #[test]
    fn the_innermost_container_counts() {
        let inner = "4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970";
        assert_eq!(
            placement(&format!("/lxc/web/docker/{inner}")),
            only(with_id("docker", inner))
        );
        assert_eq!(
            placement(&format!("/docker/<id>/kubepods/pod<uid>/{inner}")).container,
            Some(Container {
                pod: Some(Pod {
                    uid: UID.to_owned(),
                    ..Pod::default()
                }),
                ..with_id("", inner)
            })
        );
    }

    #[test]
    fn what_only_looks_like_an_id_is_none() {
        for path in [
            "/docker/<id>0",
            "/docker/buildx",
            "/podman",
            "/system.slice/docker-9ec39b.slice",
        ] {
            assert_eq!(placement(path), Placement::default(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_and_gives_names_of_bounded_length(
            path in "(/(docker|lxc|pod|kubepods|machine-|[a-z0-9é.:@\\\\-]{0,300}|[0-9a-f]{64})(-|:|\\.scope|\\.service|\\.slice)?){0,12}"
        ) {
            let Placement { unit, container } = Placement::of(&path);
            let container = container.unwrap_or_default();
            let pod = container.pod.unwrap_or_default();
            let names = [unit, Some(container.id), container.name, Some(pod.uid)];
            for name in names.into_iter().flatten() {
                prop_assert!(name.len() <= MAX_NAME_BYTES);
            }
        }
    }
}
