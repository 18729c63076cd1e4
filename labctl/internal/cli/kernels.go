package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/kernel"
)

func (a *app) kernels() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "the other kernels that scenarios can run on",
		Long: `Kernels fetches, lists and removes the kernels that "labctl run --kernel" starts in
a virtual machine. Nothing is installed, no privilege is needed, and none of it
runs here: all is kept in the user's cache folder. It takes QEMU.`,
		Example: `  labctl kernels fetch debian:6.12
  labctl kernels list
  labctl run --kernel 6.12 timewait`,
		Args: arguments(0, "a command: fetch, list, remove, prepare or clean"),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.kernelsFetch(), a.kernelsList(), a.kernelsRemove(), a.kernelsPrepare(), a.kernelsClean())
	return cmd
}

// say tells people what takes time.
func (a *app) say(text string) { fmt.Fprintln(a.stderr, text) }

// store opens the user's store of kernels.
func store() (*kernel.Store, error) {
	s, err := kernel.Open()
	if err != nil {
		return nil, &exitError{campaign.Impossible, err}
	}
	return s, nil
}

func (a *app) kernelsFetch() *cobra.Command {
	var modules string
	cmd := &cobra.Command{
		Use:   "fetch KERNEL",
		Short: "get a kernel: debian:VERSION, a .deb, or a vmlinuz",
		Long: `Fetch keeps a kernel, and the few of its modules that labs need, for "run --kernel".
debian:6.12 is the newest 6.12 of Debian's archive, which apt gets from where it gets
all else, and checks. A package from elsewhere is named by its file, and so is a
kernel of one's own: vmlinuz or vmlinux, with the folder that its modules are below.`,
		Example: `  labctl kernels fetch debian:6.12
  labctl kernels fetch ./linux-image-6.1.0-50-cloud-amd64_6.1.176-1_amd64.deb
  labctl kernels fetch arch/x86/boot/bzImage --modules out/lib/modules`,
		Args: arguments(1, "one kernel: debian:VERSION, a .deb or a vmlinuz"),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := store()
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			k, err := s.Fetch(ctx, args[0], modules, a.say)
			if ctx.Err() != nil {
				a.code = campaign.Interrupted
				return nil
			}
			if err != nil {
				return &exitError{campaign.Impossible, err}
			}
			_, err = fmt.Fprintf(a.stdout, "%s\n%s\n", k.Release, k.Digest)
			return written(err)
		},
	}
	cmd.Flags().StringVar(&modules, "modules", "", "`folder` below which the modules of a kernel in a file are")
	return cmd
}

func (a *app) kernelsList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "the kernels that are here",
		Example: "  labctl kernels list",
		Args:    arguments(0, "only flags"),
		RunE: func(*cobra.Command, []string) error {
			s, err := store()
			if err != nil {
				return err
			}
			list, err := s.List()
			if err != nil {
				return &exitError{campaign.Impossible, err}
			}
			machines, err := s.Machines()
			if err != nil {
				return &exitError{campaign.Impossible, err}
			}
			prepared := map[string]bool{}
			for _, m := range machines {
				prepared[m.Digest] = true
			}
			if len(list) == 0 {
				a.say("no kernel was fetched yet; see labctl kernels fetch --help")
			}
			for _, k := range list {
				state := ""
				if prepared[k.Digest] {
					state = "prepared"
				}
				if _, err := fmt.Fprintf(a.stdout, "%-32s  %-8s  %s\n", k.Release, state, k.Source); err != nil {
					return written(err)
				}
			}
			return nil
		},
	}
}

func (a *app) kernelsRemove() *cobra.Command {
	return &cobra.Command{
		Use:               "remove KERNEL...",
		Short:             "remove kernels, named by their release or its beginning",
		Example:           "  labctl kernels remove 6.12",
		ValidArgsFunction: completeKernels,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the kernels to remove; see labctl kernels list")
			}
			s, err := store()
			if err != nil {
				return err
			}
			for _, name := range args {
				k, err := s.Find(name)
				if err == nil {
					err = s.Remove(k)
				}
				if err != nil {
					return &exitError{campaign.Impossible, err}
				}
				if _, err := fmt.Fprintln(a.stdout, "removed", k.Release); err != nil {
					return written(err)
				}
			}
			return nil
		},
	}
}

func (a *app) kernelsPrepare() *cobra.Command {
	var k kernels
	cmd := &cobra.Command{
		Use:   "prepare [KERNEL...]",
		Short: "start kernels once, so that runs on them start at once",
		Long: `Prepare starts each kernel in its machine, waits until it is ready for a lab, and
saves it. A run does so by itself where it was not done. Without a name, all kernels
that are here are prepared.`,
		Example:           "  labctl kernels prepare\n  labctl kernels prepare 6.1 6.12",
		ValidArgsFunction: completeKernels,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := store()
			if err != nil {
				return err
			}
			if k.names = args; len(args) == 0 {
				list, err := s.List()
				if err != nil {
					return &exitError{campaign.Impossible, err}
				}
				for _, one := range list {
					k.names = append(k.names, one.Release)
				}
			}
			ctx, stop := interruptible()
			defer stop()
			for _, name := range k.names {
				m, err := k.machine(ctx, name, a.say)
				if ctx.Err() != nil {
					a.code = campaign.Interrupted
					return nil
				}
				if err != nil {
					return &exitError{campaign.Impossible, err}
				}
				if _, err := fmt.Fprintf(a.stdout, "%s: ready, prepared in %.1f s\n", m.Kernel, m.Took.Seconds()); err != nil {
					return written(err)
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&k.noWarp, "no-warp", false, "for runs in real time")
	f.StringVar(&k.modules, "modules", "", "`folder` below which the modules of a kernel in a file are")
	return cmd
}

func (a *app) kernelsClean() *cobra.Command {
	return &cobra.Command{
		Use:     "clean",
		Short:   "remove all that was prepared; the kernels stay",
		Example: "  labctl kernels clean",
		Args:    arguments(0, "only flags"),
		RunE: func(*cobra.Command, []string) error {
			s, err := store()
			if err != nil {
				return err
			}
			freed, err := s.Clean()
			if err != nil {
				return &exitError{campaign.Impossible, err}
			}
			_, err = fmt.Fprintf(a.stdout, "removed %d MiB\n", freed>>20)
			return written(err)
		},
	}
}
