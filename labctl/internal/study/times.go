package study

import (
	"slices"
	"time"
)

// Times are how long a step took in the labs whose expectation asks for that.
type Times struct {
	Step   string
	Kernel string
	// Took are the times in ns, the shortest first.
	Took []int64
	Bins []Bin
}

// Bin is a bar of a histogram: how many times lie in [From, To), in ns.
type Bin struct {
	From, To int64
	Count    int
}

// fewestTimes is how many times a histogram needs to tell anything.
const fewestTimes = 5

// Times are the histograms of the table, by step and kernel.
func (t *Table) Times() (all []Times) {
	for _, kernel := range t.Kernels() {
		for _, s := range t.Steps {
			d := Times{Step: s.ID, Kernel: kernel}
			for i := range t.Rows {
				if a := t.Rows[i].Answer(s.ID); a != nil && a.Took > 0 && t.Rows[i].Kernel == kernel {
					d.Took = append(d.Took, a.Took)
				}
			}
			if len(d.Took) >= fewestTimes {
				slices.Sort(d.Took)
				d.Bins = bins(d.Took)
				all = append(all, d)
			}
		}
	}
	return all
}

// bins are at most about twelve bars of equal width, which is 1, 2 or 5 times a
// power of ten.
func bins(took []int64) []Bin {
	const most = 12
	low, high := took[0], took[len(took)-1]
	width := int64(time.Microsecond)
	for step := 0; (high-low)/width >= most; step++ {
		if step%3 == 1 {
			width = width * 5 / 2
		} else {
			width *= 2
		}
	}
	first := low / width * width
	all := make([]Bin, (high-first)/width+1)
	for i := range all {
		all[i].From, all[i].To = first+int64(i)*width, first+int64(i+1)*width
	}
	for _, v := range took {
		all[(v-first)/width].Count++
	}
	return all
}

// Quantile is the time below which the part q of them lies, from 0 to 1.
func (t *Times) Quantile(q float64) int64 { return t.Took[int(q*float64(len(t.Took)-1)+0.5)] }
