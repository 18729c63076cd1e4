//go:build linux

package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// compose loads docker-compose.yml as Docker Compose v2 does, against its schema,
// with these profiles.
func compose(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"docker-compose.yml"}, cli.WithName("restartlab"), cli.WithProfiles(profiles))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// Each profile is whole: what its services depend on, or share a namespace with,
// is in it too.
func TestComposeProfiles(t *testing.T) {
	t.Chdir("..")
	for profile, want := range map[string][]string{
		"lab":             {"lab"},
		"two-hosts":       {"client-host", "server", "server-host"},
		"two-hosts-fixed": {"client-host", "server-fixed", "server-host"},
		"vanishing-error": {"naive-server"},
		"visit":           {"client", "client-host", "naive-client", "observer", "server-host"},
	} {
		t.Run(profile, func(t *testing.T) {
			project := compose(t, profile)
			if d := cmp.Diff(want, slices.Sorted(maps.Keys(project.Services))); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			for name, s := range project.Services {
				if host, shares := strings.CutPrefix(s.NetworkMode, "service:"); shares && !slices.Contains(want, host) {
					t.Errorf("%s lives in the namespace of %s, which is in another profile", name, host)
				}
			}
		})
	}
	if got := compose(t); len(got.Services) > 0 {
		t.Errorf("without a profile it starts %v", got.ServiceNames())
	}
}

// Nobody has more rights than they need: the lab two capabilities, the others none.
func TestComposeRights(t *testing.T) {
	t.Chdir("..")
	text, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"\nversion:", "privileged", "docker.sock", "network_mode: host", "pid:"} {
		if strings.Contains(string(text), word) {
			t.Errorf("docker-compose.yml has %q", word)
		}
	}
	for name, s := range compose(t, "*").Services {
		want := struct {
			Add, Drop, Options []string
			User               string
			Volumes            int
		}{nil, []string{"ALL"}, []string{"no-new-privileges:true"}, "65534:65534", 0}
		if name == "lab" {
			want.Add, want.Drop, want.Options = []string{"NET_ADMIN", "SYS_ADMIN"}, nil, []string{"apparmor=unconfined"}
			want.User, want.Volumes = "", 1
		}
		got := want
		got.Add, got.Drop, got.Options, got.User, got.Volumes = s.CapAdd, s.CapDrop, s.SecurityOpt, s.User, len(s.Volumes)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
		if !s.ReadOnly {
			t.Errorf("%s: its root can be written to", name)
		}
		if err := command(t, "labctl "+strings.Join(s.Command, " ")); err != nil {
			t.Errorf("%s: labctl %v: %v", name, s.Command, err)
		}
		if h := s.HealthCheck; h != nil {
			if err := command(t, "labctl "+strings.Join(h.Test[2:], " ")); err != nil {
				t.Errorf("%s: its health check %v: %v", name, h.Test, err)
			}
		}
	}
}

// What the lesson tells to type names services that are there, with the profile
// that starts them, and is the same in both languages.
func TestLessonsCommands(t *testing.T) {
	t.Chdir("..")
	services := compose(t, "*").Services
	var typed [][]string
	for _, file := range []string{"docs/classroom.md", "docs/classroom.zh.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, b := range blocks(string(text), "sh") {
			for _, line := range commandLines(b.text) {
				lines = append(lines, line)
				if err := lessonCommand(t, services, line); err != nil {
					t.Errorf("%s:%d: %s: %v", file, b.line, line, err)
				}
			}
		}
		typed = append(typed, lines)
	}
	if d := cmp.Diff(typed[0], typed[1]); d != "" {
		t.Errorf("the languages differ (-en +zh)\n%s", d)
	}
	if len(typed[0]) < 20 {
		t.Errorf("only %d commands were found", len(typed[0]))
	}
}

func lessonCommand(t *testing.T, services types.Services, line string) error {
	rest, is := strings.CutPrefix(line, "docker compose ")
	if !is {
		return nil
	}
	words := strings.Fields(rest)
	if words[0] == "--profile" {
		for name, s := range services {
			if !slices.Contains(s.Profiles, words[1]) {
				services = services.Filter(func(other types.ServiceConfig) bool { return other.Name != name })
			}
		}
		words = words[2:]
	}
	verb, words := words[0], slices.DeleteFunc(words[1:], func(w string) bool { return w == "--rm" || w == "-d" })
	if len(services) == 0 {
		return errors.New("there is no such profile")
	}
	if len(words) == 0 {
		return nil
	}
	if _, there := services[words[0]]; !there {
		return errors.New("there is no such service in the profile")
	}
	switch {
	case verb == "run" && len(words) > 1:
		return command(t, "labctl "+strings.Join(words[1:], " "))
	case verb == "exec" && len(words) > 1 && words[1] != "/labctl":
		return errors.New("the image has no program but /labctl")
	}
	return nil
}
