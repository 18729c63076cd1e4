package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/scenario"
	"restartlab/scenarios"
)

// source is a scenario file as the user named it.
type source struct {
	file string // for messages
	data []byte
}

// sources finds what the user named: files, folders, and the names of shipped
// scenarios. All problems come at once.
func sources(names []string) ([]source, error) {
	var found []source
	var errs []error
	for _, name := range names {
		info, err := os.Stat(name)
		switch {
		case err == nil && info.IsDir():
			files, err := filepath.Glob(filepath.Join(name, "*.yaml"))
			if err == nil && len(files) == 0 {
				err = fmt.Errorf("%s: a folder without a scenario (*.yaml)", name)
			}
			errs = append(errs, err)
			for _, file := range files {
				data, err := scenario.Read(file)
				errs = append(errs, err)
				found = append(found, source{file, data})
			}
		case err != nil && shipped(name) != nil:
			found = append(found, source{name + " (shipped)", shipped(name)})
		case errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "/."):
			errs = append(errs, fmt.Errorf("%s: no such file, and no shipped scenario has this name%s", name, nearest(name)))
		default:
			data, err := scenario.Read(name)
			errs = append(errs, err)
			found = append(found, source{name, data})
		}
	}
	return found, errors.Join(errs...)
}

// shipped is the text of an embedded scenario, nil if there is none of the name.
func shipped(name string) []byte {
	data, err := scenarios.Files.ReadFile(scenarios.Path(name))
	if err != nil {
		return nil
	}
	return data
}

func nearest(name string) string {
	if near := scenario.Nearest(name, scenarios.Order); near != "" {
		return fmt.Sprintf(" (did you mean %s?)", near)
	}
	return "; labctl list shows them"
}

// load reads and compiles what the user named.
func load(names []string, s scenario.Settings) ([]campaign.Item, error) {
	found, err := sources(names)
	var items []campaign.Item
	errs := []error{err}
	for _, f := range found {
		if f.data == nil {
			continue // err tells
		}
		loaded, err := scenario.Load(f.file, f.data, s)
		errs = append(errs, err)
		items = append(items, campaign.Item{Scenario: loaded, File: f.file, Settings: s})
	}
	return items, errors.Join(errs...)
}

// settings reads --set name=value. A name given several times has all of the
// values, for an axis of a matrix.
func settings(set []string, command []string) (scenario.Settings, error) {
	s := scenario.Settings{Command: command}
	if len(command) > 0 {
		if _, err := exec.LookPath(command[0]); err != nil {
			why := "no program of this name in PATH"
			if errno := syscall.Errno(0); errors.As(err, &errno) {
				why = errno.Error()
			}
			return s, fmt.Errorf("cannot run %s: %s", command[0], why)
		}
	}
	for _, v := range set {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return s, fmt.Errorf("--set %s: write --set name=value", v)
		}
		if s.Set == nil {
			s.Set = map[string]string{}
		}
		if before, again := s.Set[name]; again {
			value = before + " " + value
		}
		s.Set[name] = value
	}
	return s, nil
}

// completeScenarios offers the shipped names and files.
func completeScenarios(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return scenarios.Order, cobra.ShellCompDirectiveDefault
}
