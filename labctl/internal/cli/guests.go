package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/kernel"
	"restartlab/labctl/internal/sandbox"
)

// hostKernel is the name of this machine's own kernel among those of --kernel.
const hostKernel = "host"

// kernels holds the flags that say on which kernels to run.
type kernels struct {
	names   []string
	modules string
	warp    bool
	noWarp  bool
	seed    uint64
}

func (k *kernels) flags(cmd *cobra.Command, name, usage string) {
	f := cmd.Flags()
	f.StringSliceVar(&k.names, name, nil, usage)
	f.StringVar(&k.modules, "modules", "", "`folder` below which the modules of a kernel in a file are")
	f.BoolVar(&k.warp, "warp", true, "let the clock of other kernels jump over idle time")
	f.BoolVar(&k.noWarp, "no-warp", false, "let other kernels run in real time")
	f.Uint64Var(&k.seed, "seed", 1, "what decides all chance in another kernel, such as ephemeral ports")
	cmd.MarkFlagsMutuallyExclusive("warp", "no-warp")
	cmd.RegisterFlagCompletionFunc(name, completeKernels)
}

// others reports whether a kernel is named that is not this machine's own.
func (k *kernels) others() bool {
	return slices.ContainsFunc(k.names, func(n string) bool { return n != hostKernel })
}

// check finds what cannot be meant.
func (k *kernels) check(cmd *cobra.Command) error {
	for _, flag := range []string{"modules", "warp", "no-warp", "seed"} {
		if cmd.Flags().Changed(flag) && !k.others() {
			return fmt.Errorf("--%s is for another kernel: name one with --kernel", flag)
		}
	}
	if !k.warp {
		k.noWarp = true
	}
	for i, n := range k.names {
		if slices.Contains(k.names[:i], n) {
			return fmt.Errorf("kernel %s stands there twice", n)
		}
	}
	return nil
}

// open finds the kernels and prepares their machines, nil for this machine's own.
func (k *kernels) open(ctx context.Context, say func(string)) ([]*sandbox.Guest, error) {
	guests := make([]*sandbox.Guest, len(k.names))
	for i, name := range k.names {
		if name == hostKernel {
			continue
		}
		m, err := k.machine(ctx, name, say)
		if err != nil {
			return nil, &exitError{campaign.Impossible, err}
		}
		guests[i] = &sandbox.Guest{Machine: m, Seed: k.seed}
	}
	return guests, nil
}

func (k *kernels) machine(ctx context.Context, name string, say func(string)) (*kernel.Machine, error) {
	store, err := kernel.Open()
	if err != nil {
		return nil, err
	}
	var found *kernel.Kernel
	if kernel.IsFile(name) {
		found, err = kernel.FromFile(name, k.modules)
	} else {
		found, err = store.Find(name)
	}
	if err != nil {
		return nil, err
	}
	qemu, err := kernel.FindQEMU(ctx)
	if err != nil {
		return nil, err
	}
	return store.Prepare(ctx, qemu, found, !k.noWarp, say)
}

// on is the items on each of the kernels; on this machine's own if none is named.
func (k *kernels) on(items []campaign.Item, guests []*sandbox.Guest) []campaign.Item {
	if len(guests) == 0 {
		return items
	}
	var all []campaign.Item
	for _, item := range items {
		for i, g := range guests {
			item.Guest = g
			if len(guests) > 1 {
				item.Variant = k.label(i, g)
			}
			all = append(all, item)
		}
	}
	return all
}

// label is a kernel's name in folders and tables: as the user wrote it, unless that
// is a path.
func (k *kernels) label(i int, g *sandbox.Guest) string {
	name := k.names[i]
	if g != nil && strings.ContainsAny(name, `/\`) {
		return g.Kernel
	}
	return name
}

// again is the kernel of a run that is to be repeated.
func again(h *journal.Header) (k kernels, err error) {
	g := h.Guest
	if g == nil {
		return k, nil
	}
	store, err := kernel.Open()
	if err != nil {
		return k, err
	}
	found, err := store.Find(h.Machine.Kernel)
	if err != nil {
		return k, fmt.Errorf("%w (that of the run is from %s)", err, g.Kernel)
	}
	if found.Digest != g.Digest {
		return k, fmt.Errorf("kernel %s here is another build than that of the run, which is from %s: %s, not %s", found.Release, g.Kernel, found.Digest, g.Digest)
	}
	return kernels{names: []string{found.Release}, noWarp: !g.Warp, seed: g.Seed}, nil
}

func completeKernels(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names := []string{hostKernel}
	if store, err := kernel.Open(); err == nil {
		list, _ := store.List() // without, there is only the host to offer
		for _, k := range list {
			names = append(names, k.Release)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
