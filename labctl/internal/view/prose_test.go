package view

import (
	"bytes"
	"testing"
)

func TestProseGolden(t *testing.T) {
	text := "The side that closes first keeps TIME_WAIT for a minute, and as long as it is there, bind() is refused.\nThat is no fault.\n\n" +
		"- Set SO_REUSEADDR before bind(), in every run, also in the first one; the option is copied into the TIME_WAIT socket.\n- Or wait.\n\n" +
		"    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);\n\n" +
		"先关闭连接的一方会保留 TIME_WAIT 状态大约一分钟；\n在此期间，如果没有设置 SO_REUSEADDR，bind() 就会失败，这并不是错误。\n"
	for kind, o := range terminals {
		t.Run(kind, func(t *testing.T) {
			var b bytes.Buffer
			Prose(&b, o, question.EN, text)
			plainText(t, b.String(), o.Width)
			golden(t, "prose-"+kind, b.String())
		})
	}
}
