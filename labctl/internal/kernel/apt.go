package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// suites are those of Debian's archive, and the kernels that they are known to have.
// A version that is in none of these is looked for in all, the newest first.
var suites = []struct{ name, version string }{
	{"trixie-backports", ""},
	{"trixie", "6.12"},
	{"bookworm", "6.1"},
	{"bullseye", "5.10"},
}

// keyring is where Debian has the keys of its archive.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt is apt's own client with a state of its own, so that nothing of it is added to
// the machine's.
type apt struct {
	folder  string
	options []string
}

// fromDebian gets the newest kernel of Debian's archive whose version begins with
// that. apt checks the archive's signature and the packages' digests.
func (s *Store) fromDebian(ctx context.Context, version string, say func(string)) (*Kernel, error) {
	if !regexp.MustCompile(`^\d+\.\d+(\.\d+)?$`).MatchString(version) {
		return nil, fmt.Errorf("debian:%s: write debian: and a kernel's version, such as debian:6.12", version)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, fmt.Errorf("debian:%s: there is no apt-get here. Get the package linux-image-%s*-cloud-amd64 in another way and name the .deb", version, version)
	}
	archive, err := debianArchive(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.root, 0o777); err != nil {
		return nil, fmt.Errorf("make the folder for kernels: %w", err)
	}
	folder, err := os.MkdirTemp(s.root, ".apt-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for apt: %w", err)
	}
	defer os.RemoveAll(folder)
	var asked []string
	for _, suite := range order(version) {
		say("asking Debian's " + suite + " for kernels " + version)
		a := &apt{folder: filepath.Join(folder, suite)}
		if err := a.update(ctx, archive, suite); err != nil {
			return nil, err
		}
		packages, err := a.find(ctx, version)
		if err != nil {
			return nil, err
		}
		if len(packages) == 0 {
			asked = append(asked, suite)
			continue
		}
		say("getting " + strings.Join(packages, " and "))
		files, err := a.download(ctx, packages)
		if err != nil {
			return nil, err
		}
		say("unpacking")
		var names []string
		for _, f := range files {
			names = append(names, filepath.Base(f))
		}
		return fromPackages("Debian "+suite+", "+strings.Join(names, " and "), files...)
	}
	return nil, fmt.Errorf("debian:%s: no package linux-image-%s*-cloud-amd64 in Debian's %s", version, version, strings.Join(asked, ", "))
}

// order is the order in which suites are asked for a version.
func order(version string) []string {
	var names []string
	for _, s := range suites {
		if s.version != "" && matches(version, s.version) {
			names = append(names, s.name)
		}
	}
	for _, s := range suites {
		if !slices.Contains(names, s.name) {
			names = append(names, s.name)
		}
	}
	return names
}

// debianArchive is the address of Debian's archive that the machine's apt uses.
func debianArchive(ctx context.Context) (string, error) {
	out, err := command(ctx, "", "apt-get", "indextargets", "--format", "$(REPO_URI)")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.HasSuffix(strings.TrimSuffix(line, "/"), "/debian") {
			return line, nil
		}
	}
	return "", errors.New("apt's sources on this machine do not name Debian's archive (an address that ends in /debian): get the kernel's package in another way and name the .deb")
}

// update fetches the list of packages of a suite.
func (a *apt) update(ctx context.Context, archive, suite string) error {
	for _, d := range []string{"lists/partial", "cache/archives/partial", "parts", "packages"} {
		if err := os.MkdirAll(filepath.Join(a.folder, d), 0o777); err != nil {
			return fmt.Errorf("make a folder for apt: %w", err)
		}
	}
	if _, err := os.Stat(keyring); err != nil {
		return fmt.Errorf("the keys of Debian's archive are not here (%w): install the package debian-archive-keyring", err)
	}
	source := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: amd64\nSigned-By: %s\n", archive, suite, keyring)
	if err := os.WriteFile(filepath.Join(a.folder, "parts", "kernels.sources"), []byte(source), 0o666); err != nil {
		return fmt.Errorf("tell apt of Debian's archive: %w", err)
	}
	for _, o := range []string{
		"APT::Architecture=amd64", "Dir::State=" + a.folder, "Dir::State::status=/dev/null", "Dir::Cache=" + filepath.Join(a.folder, "cache"),
		"Dir::Etc::SourceList=/dev/null", "Dir::Etc::SourceParts=" + filepath.Join(a.folder, "parts"),
		"Acquire::Languages=none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"APT::Sandbox::User=", // the folder is ours, and not _apt's
	} {
		a.options = append(a.options, "-o", o)
	}
	_, err := a.run(ctx, "apt-get", "-q", "update")
	return err
}

func (a *apt) run(ctx context.Context, program string, args ...string) (string, error) {
	return command(ctx, filepath.Join(a.folder, "packages"), program, append(slices.Clone(a.options), args...)...)
}

// find names the packages with the newest kernel of the version: one, or where the
// image and the modules come apart, two. The cloud flavour is smaller, and has all
// that a lab needs.
func (a *apt) find(ctx context.Context, version string) ([]string, error) {
	out, err := a.run(ctx, "apt-cache", "pkgnames", "linux-image-"+version)
	if err != nil {
		return nil, err
	}
	var releases []string
	for _, name := range strings.Fields(out) {
		release := strings.TrimPrefix(name, "linux-image-")
		if strings.HasSuffix(release, "-cloud-amd64") && matches(release, version) {
			releases = append(releases, release)
		}
	}
	if len(releases) == 0 {
		return nil, nil
	}
	release := slices.MaxFunc(releases, compareReleases)
	image := "linux-image-" + release
	out, err = a.run(ctx, "apt-cache", "depends", image)
	if err != nil {
		return nil, err
	}
	var packages []string
	for line := range strings.Lines(out) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		if ok && (name == "linux-binary-"+release || name == "linux-modules-"+release) {
			packages = append(packages, name)
		}
	}
	if len(packages) == 0 {
		packages = []string{image}
	}
	return packages, nil
}

func (a *apt) download(ctx context.Context, packages []string) ([]string, error) {
	if _, err := a.run(ctx, "apt-get", append([]string{"-q", "download"}, packages...)...); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(a.folder, "packages", "*.deb"))
	if err != nil || len(files) != len(packages) {
		return nil, fmt.Errorf("apt-get download %s: %d files came", strings.Join(packages, " "), len(files))
	}
	return files, nil
}

// command runs a program of the machine in a folder and returns what it printed. Its
// words are English, whoever the user is.
func command(ctx context.Context, folder, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			said = err.Error()
		}
		last := args[len(args)-1]
		return "", fmt.Errorf("%s %s: %s", program, last, said)
	}
	return stdout.String(), nil
}
