package scenario

// The forms below are the scenario language: what a file may contain, and of
// which type. The decoder fills them, and the JSON Schema is generated from
// them. A pointer is nil when the file says nothing. A json tag without
// omitempty makes a field required; enum, minimum, maximum, minItems and
// maxItems in a jsonschema tag are enforced by the decoder too.

// fileForm is a whole file.
type fileForm struct {
	place
	Name     *name              `json:"name" jsonschema_description:"The scenario's name."`
	Title    *text              `json:"title,omitempty" jsonschema_description:"The question that the scenario answers."`
	Lesson   *text              `json:"lesson,omitempty" jsonschema_description:"The answer, and why it is so."`
	Port     *integer           `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535,default=12500" jsonschema_description:"The port that everything is about."`
	Matrix   *matrixForm        `json:"matrix,omitempty" jsonschema_description:"Makes of the file one lab for each combination of values: a cell."`
	Hosts    *dict[hostForm]    `json:"hosts,omitempty" jsonschema_description:"One host, or two joined by a link. Not declared: server and client."`
	Programs *dict[programForm] `json:"programs,omitempty" jsonschema_description:"The programs. Each runs once at a time, as a process of its own on its host."`
	Sockets  *dict[socketForm]  `json:"sockets,omitempty" jsonschema_description:"Sockets that steps make calls on, one real system call each. The first call makes the socket."`
	Steps    *list[stepForm]    `json:"steps" jsonschema:"minItems=1" jsonschema_description:"What happens, in order. The first step that fails ends the lab."`
}

type matrixForm struct {
	place
	Axes    *dict[axis]      `json:"axes" jsonschema_description:"Each axis is a list of values, or a mapping name: value. $axis stands for the cell's value."`
	Exclude *list[condition] `json:"exclude,omitempty" jsonschema:"minItems=1,maxItems=500" jsonschema_description:"Leaves out the cells that fit one of these."`
	Include *list[condition] `json:"include,omitempty" jsonschema:"minItems=1,maxItems=500" jsonschema_description:"Brings back cells that exclude left out."`
}

type hostForm struct {
	place
	Addresses *list[str]    `json:"addresses,omitempty" jsonschema:"minItems=1,maxItems=32" jsonschema_description:"Addresses with their prefix length: 192.168.44.144/24. Not declared: 192.168.44.144/24 and 2001:db8:44::144/64 for the first host, .145 and ::145 for the second."`
	Sysctls   *dict[scalar] `json:"sysctls,omitempty" jsonschema_description:"Kernel settings of this host alone: net.ipv4.tcp_fin_timeout: 5."`
}

type programForm struct {
	place
	Host   *str        `json:"host,omitempty" jsonschema_description:"The host it runs on. May be left out if there is only one."`
	Server *serverForm `json:"server,omitempty" jsonschema_description:"The article's server; every socket call is recorded."`
	Client *clientForm `json:"client,omitempty" jsonschema_description:"The article's client; every socket call is recorded."`
	Exec   *execForm   `json:"exec,omitempty" jsonschema_description:"Any other program. Its output and exit are recorded, its socket calls are not."`
	UID    *integer    `json:"uid,omitempty" jsonschema:"minimum=0,maximum=4294967294" jsonschema_description:"The user it runs as. Not given: the user who runs labctl."`
}

type socketForm struct {
	place
	Program *str          `json:"program,omitempty" jsonschema_description:"The program that makes the calls: one without server, client and exec."`
	Host    *str          `json:"host,omitempty" jsonschema_description:"In place of program: the socket gets a process of its own on this host."`
	UID     *integer      `json:"uid,omitempty" jsonschema:"minimum=0,maximum=4294967294" jsonschema_description:"The user of its own process. Not given: the user who runs labctl."`
	Kind    *str          `json:"kind,omitempty" jsonschema:"enum=tcp4,enum=tcp6,enum=udp4,enum=udp6" jsonschema_description:"Not given: TCP of the address's family, else tcp4."`
	Address *str          `json:"address,omitempty" jsonschema_description:"Where it binds: an IP address (IPv6 in quotes) or its host's name. Not given: any address."`
	Port    *integer      `json:"port,omitempty" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"Where it binds; 0 lets the kernel choose. Not given: the file's port."`
	Options *sockoptsForm `json:"options,omitempty" jsonschema_description:"Set when the socket is made, in the order written."`
	Count   *integer      `json:"count,omitempty" jsonschema:"minimum=1,maximum=10000,default=1" jsonschema_description:"How many alike the name stands for. Every call is made on each, and each must meet the expectation."`
}

type serverForm struct {
	place
	Address *str         `json:"address,omitempty" jsonschema:"default=0.0.0.0" jsonschema_description:"Where it binds: an IP address (IPv6 in quotes) or its host's name."`
	Port    *integer     `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535" jsonschema_description:"Not given: the file's port."`
	Options *optionsForm `json:"options,omitempty" jsonschema_description:"Socket options set before bind()."`
	Backlog *integer     `json:"backlog,omitempty" jsonschema:"minimum=0,maximum=65535,default=16" jsonschema_description:"How many connections may wait for accept()."`
	Serve   *str         `json:"serve,omitempty" jsonschema:"enum=greet,enum=echo,enum=hold,enum=fork,default=greet" jsonschema_description:"greet: send connIdx=N and close. echo: send back what comes, close when the client has closed. hold: keep it open and say nothing. fork: a child process greets and keeps it, even when its parent is gone."`
}

type clientForm struct {
	place
	Address    *str         `json:"address" jsonschema_description:"Where it connects to: an IP address (IPv6 in quotes) or a host's name."`
	Port       *integer     `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535" jsonschema_description:"Not given: the file's port."`
	Options    *optionsForm `json:"options,omitempty" jsonschema_description:"Socket options set before connect()."`
	CloseFirst *boolean     `json:"close-first,omitempty" jsonschema_description:"Close after the greeting, without waiting for the server's FIN."`
	Hold       *boolean     `json:"hold,omitempty" jsonschema_description:"Keep every connection open until a signal comes."`
	Count      *integer     `json:"count,omitempty" jsonschema:"minimum=1,maximum=10000,default=1" jsonschema_description:"How many connections, one after another; with hold all are open at once."`
}

type optionsForm struct {
	place
	ReuseAddr *boolean  `json:"reuseaddr,omitempty" jsonschema_description:"SO_REUSEADDR"`
	ReusePort *boolean  `json:"reuseport,omitempty" jsonschema_description:"SO_REUSEPORT"`
	V6Only    *boolean  `json:"v6only,omitempty" jsonschema_description:"IPV6_V6ONLY; IPv6 addresses only"`
	Linger    *duration `json:"linger,omitempty" jsonschema_description:"SO_LINGER, whole seconds; 0s makes close() send a reset"`
}

// sockoptsForm are the options of a socket that steps make calls on. optionOf
// says what each is to the kernel.
type sockoptsForm struct {
	place
	ReuseAddr         *boolean          `json:"reuseaddr,omitempty" jsonschema_description:"SO_REUSEADDR"`
	ReusePort         *boolean          `json:"reuseport,omitempty" jsonschema_description:"SO_REUSEPORT"`
	V6Only            *boolean          `json:"v6only,omitempty" jsonschema_description:"IPV6_V6ONLY; IPv6 sockets only"`
	Linger            *duration         `json:"linger,omitempty" jsonschema_description:"SO_LINGER, whole seconds; 0s makes close() send a reset"`
	BindToDevice      *str              `json:"bindtodevice,omitempty" jsonschema_description:"SO_BINDTODEVICE: an interface, such as lo; link is the host's end of the link"`
	FreeBind          *boolean          `json:"freebind,omitempty" jsonschema_description:"IP_FREEBIND or IPV6_FREEBIND"`
	Transparent       *boolean          `json:"transparent,omitempty" jsonschema_description:"IP_TRANSPARENT or IPV6_TRANSPARENT"`
	BindAddressNoPort *boolean          `json:"bind_address_no_port,omitempty" jsonschema_description:"IP_BIND_ADDRESS_NO_PORT"`
	IPLocalPortRange  *portRange        `json:"ip_local_port_range,omitempty" jsonschema_description:"IP_LOCAL_PORT_RANGE"`
	KeepAlive         *boolean          `json:"keepalive,omitempty" jsonschema_description:"SO_KEEPALIVE"`
	KeepIdle          *duration         `json:"keepidle,omitempty" jsonschema_description:"TCP_KEEPIDLE, whole seconds"`
	KeepIntvl         *duration         `json:"keepintvl,omitempty" jsonschema_description:"TCP_KEEPINTVL, whole seconds"`
	KeepCnt           *integer          `json:"keepcnt,omitempty" jsonschema:"minimum=1,maximum=127" jsonschema_description:"TCP_KEEPCNT"`
	UserTimeout       *duration         `json:"user_timeout,omitempty" jsonschema_description:"TCP_USER_TIMEOUT, whole milliseconds"`
	DeferAccept       *duration         `json:"defer_accept,omitempty" jsonschema_description:"TCP_DEFER_ACCEPT, whole seconds"`
	FastOpen          *integer          `json:"fastopen,omitempty" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"TCP_FASTOPEN: how many requests may wait"`
	NoDelay           *boolean          `json:"nodelay,omitempty" jsonschema_description:"TCP_NODELAY"`
	RcvBuf            *integer          `json:"rcvbuf,omitempty" jsonschema:"minimum=0,maximum=2147483647" jsonschema_description:"SO_RCVBUF, bytes"`
	SndBuf            *integer          `json:"sndbuf,omitempty" jsonschema:"minimum=0,maximum=2147483647" jsonschema_description:"SO_SNDBUF, bytes"`
	Numeric           *list[numberForm] `json:"numeric,omitempty" jsonschema:"minItems=1,maxItems=32" jsonschema_description:"Any others, by setsockopt's numbers."`
}

// numberForm is a socket option by its numbers.
type numberForm struct {
	place
	Level *integer `json:"level" jsonschema:"minimum=0,maximum=2147483647"`
	Name  *integer `json:"name" jsonschema:"minimum=0,maximum=2147483647"`
	Value *integer `json:"value" jsonschema:"minimum=-2147483648,maximum=2147483647"`
}

// portRange is the range that the kernel picks ports from.
type portRange struct {
	place
	Min *integer `json:"min" jsonschema:"minimum=0,maximum=65535"`
	Max *integer `json:"max" jsonschema:"minimum=0,maximum=65535"`
}

type execForm struct {
	place
	Argv  *list[scalar] `json:"argv" jsonschema:"minItems=1" jsonschema_description:"The program and its arguments."`
	Env   *dict[scalar] `json:"env,omitempty" jsonschema_description:"Environment variables, added to labctl's own."`
	Dir   *str          `json:"dir,omitempty" jsonschema_description:"Working directory."`
	User  *str          `json:"user,omitempty" jsonschema_description:"The user it runs as."`
	Ready *readyForm    `json:"ready,omitempty" jsonschema_description:"When it counts as started. Not given: when the file's port listens on its host."`
}

type readyForm struct {
	place
	Port *integer `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535" jsonschema_description:"When this port listens on its host."`
	Line *scalar  `json:"line,omitempty" jsonschema_description:"When it has printed this whole line."`
}

// stepForm holds exactly one verb. The verbs are the fields of a type that is
// a verbForm.
type stepForm struct {
	place
	skipped bool         // its when does not fit the cell
	Start   *startForm   `json:"start,omitempty" jsonschema_description:"Start a program; done when it listens, is connected, is ready, or has failed."`
	Run     *runForm     `json:"run,omitempty" jsonschema_description:"Start a program and wait for its exit."`
	Stop    *stopForm    `json:"stop,omitempty" jsonschema_description:"Signal a program and wait for its exit."`
	Signal  *signalForm  `json:"signal,omitempty" jsonschema_description:"Signal a program, without waiting."`
	Wait    *waitForm    `json:"wait,omitempty" jsonschema_description:"Wait until something is seen, or let time pass."`
	Netstat *netstatForm `json:"netstat,omitempty" jsonschema_description:"Look once at a host's socket table."`
	Sysctl  *sysctlForm  `json:"sysctl,omitempty" jsonschema_description:"Change kernel settings of a host."`
	Link    *linkForm    `json:"link,omitempty" jsonschema_description:"Take a host's link down, or bring it up."`

	Bind       *bindForm       `json:"bind,omitempty" jsonschema_description:"bind()"`
	Listen     *listenForm     `json:"listen,omitempty" jsonschema_description:"listen()"`
	Connect    *connectForm    `json:"connect,omitempty" jsonschema_description:"connect()"`
	Accept     *acceptForm     `json:"accept,omitempty" jsonschema_description:"accept(), which makes a new socket."`
	Send       *sendForm       `json:"send,omitempty" jsonschema_description:"send()"`
	Recv       *recvForm       `json:"recv,omitempty" jsonschema_description:"recv(), once."`
	Shutdown   *shutdownForm   `json:"shutdown,omitempty" jsonschema_description:"shutdown()"`
	Close      *closeForm      `json:"close,omitempty" jsonschema_description:"close()"`
	Setsockopt *setsockoptForm `json:"setsockopt,omitempty" jsonschema_description:"setsockopt(), once for each option."`
	Inherit    *inheritForm    `json:"inherit,omitempty" jsonschema_description:"Fork a child that keeps the descriptor."`
	Pass       *passForm       `json:"pass,omitempty" jsonschema_description:"Give another program a descriptor of the socket (SCM_RIGHTS)."`
	Destroy    *destroyForm    `json:"destroy,omitempty" jsonschema_description:"Have the kernel destroy the socket (SOCK_DESTROY), as ss -K does."`
	Hold       *holdForm       `json:"hold,omitempty" jsonschema_description:"Bring a fresh socket into a state and keep it there."`
	Drop       *dropForm       `json:"drop,omitempty" jsonschema_description:"Drop segments that reach a host."`

	Repeat *repeatForm `json:"repeat,omitempty" jsonschema_description:"Do some steps several times."`

	When   *condition  `json:"when,omitempty" jsonschema_description:"Only in the cells that fit: all of {axis: name, list of names, or $other}."`
	ID     *name       `json:"id,omitempty" jsonschema_description:"A name for since. Not given: the verb and its object, such as start app, then start app 2."`
	Title  *text       `json:"title,omitempty" jsonschema_description:"What the step is for."`
	Within *duration   `json:"within,omitempty" jsonschema:"default=10s" jsonschema_description:"The deadline for what the step waits for."`
	Expect *expectForm `json:"expect,omitempty" jsonschema_description:"What must be seen. Not given: the step must succeed."`
}

type startForm struct {
	place
	Program *str `json:"program"`
}

type runForm struct {
	place
	Program *str `json:"program"`
}

type stopForm struct {
	place
	Program *str        `json:"program"`
	Signal  *signalName `json:"signal,omitempty" jsonschema_description:"Not given: SIGTERM."`
}

type signalForm struct {
	place
	Program *str        `json:"program"`
	Signal  *signalName `json:"signal"`
}

type waitForm struct {
	place
	Host    *str       `json:"host,omitempty" jsonschema_description:"Until something is seen in this host's socket table. May be left out if there is only one host."`
	Program *str       `json:"program,omitempty" jsonschema_description:"Until something is seen of this program."`
	Socket  *str       `json:"socket,omitempty" jsonschema_description:"Until so many connections wait at this listening socket."`
	Until   *untilForm `json:"until,omitempty" jsonschema_description:"What must be seen before the deadline."`
	For     *duration  `json:"for,omitempty" jsonschema_description:"Let this much time pass."`
}

type netstatForm struct {
	place
	Host *str `json:"host"`
}

type sysctlForm struct {
	place
	Host   *str          `json:"host,omitempty" jsonschema_description:"May be left out if there is only one host."`
	Values *dict[scalar] `json:"values" jsonschema_description:"net.ipv4.tcp_fin_timeout: 5"`
}

type linkForm struct {
	place
	Host  *str `json:"host"`
	State *str `json:"state" jsonschema:"enum=down,enum=up"`
}

type bindForm struct {
	place
	Socket  *str     `json:"socket"`
	Address *str     `json:"address,omitempty" jsonschema_description:"Not given: the socket's own."`
	Port    *integer `json:"port,omitempty" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"0 lets the kernel choose. Not given: the socket's own."`
}

type listenForm struct {
	place
	Socket  *str     `json:"socket"`
	Backlog *integer `json:"backlog,omitempty" jsonschema:"minimum=0,maximum=65535,default=16" jsonschema_description:"How many connections may wait for accept()."`
}

type connectForm struct {
	place
	Socket   *str     `json:"socket"`
	Address  *str     `json:"address" jsonschema_description:"An IP address (IPv6 in quotes) or a host's name."`
	Port     *integer `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535" jsonschema_description:"Not given: the file's port."`
	Nonblock *boolean `json:"nonblock,omitempty" jsonschema_description:"Return at once, with EINPROGRESS."`
}

type acceptForm struct {
	place
	Socket   *str     `json:"socket"`
	As       *name    `json:"as" jsonschema_description:"The name of the new socket."`
	Count    *integer `json:"count,omitempty" jsonschema:"minimum=1,maximum=10000,default=1" jsonschema_description:"How many connections; the name stands for all of them."`
	Nonblock *boolean `json:"nonblock,omitempty" jsonschema_description:"EAGAIN where it would wait."`
}

type sendForm struct {
	place
	Socket *str    `json:"socket"`
	Text   *scalar `json:"text"`
}

type recvForm struct {
	place
	Socket   *str     `json:"socket"`
	Nonblock *boolean `json:"nonblock,omitempty" jsonschema_description:"EAGAIN where it would wait."`
}

type shutdownForm struct {
	place
	Socket *str `json:"socket"`
	How    *str `json:"how,omitempty" jsonschema:"enum=SHUT_RD,enum=SHUT_WR,enum=SHUT_RDWR,default=SHUT_RDWR"`
}

type closeForm struct {
	place
	Socket *str `json:"socket"`
}

type setsockoptForm struct {
	place
	Socket  *str          `json:"socket"`
	Options *sockoptsForm `json:"options"`
}

type inheritForm struct {
	place
	Socket *str  `json:"socket"`
	To     *str  `json:"to" jsonschema_description:"The program that the child is: one without server, client and exec that does not run yet."`
	As     *name `json:"as" jsonschema_description:"The name of the child's descriptor."`
}

type passForm struct {
	place
	Socket *str  `json:"socket"`
	To     *str  `json:"to" jsonschema_description:"A program without server, client and exec."`
	As     *name `json:"as" jsonschema_description:"The name of its descriptor."`
}

type destroyForm struct {
	place
	Socket *str `json:"socket"`
}

type holdForm struct {
	place
	Socket *str     `json:"socket"`
	State  *str     `json:"state" jsonschema:"enum=BOUND,enum=LISTEN,enum=SYN_SENT,enum=SYN_RECV,enum=ESTABLISHED,enum=FIN_WAIT1,enum=FIN_WAIT2,enum=CLOSE_WAIT,enum=LAST_ACK,enum=CLOSING,enum=TIME_WAIT"`
	Peer   *str     `json:"peer,omitempty" jsonschema_description:"The host at the other end. Not given: the other one."`
	Orphan *boolean `json:"orphan,omitempty" jsonschema_description:"Close the descriptor, so that no process holds the socket."`
}

type dropForm struct {
	place
	Host     *str     `json:"host" jsonschema_description:"The host that the segments reach."`
	Segments *str     `json:"segments,omitempty" jsonschema:"enum=SYN,enum=ACK,enum=FIN,enum=RST,enum=any,default=any" jsonschema_description:"Those with this flag."`
	Count    *integer `json:"count,omitempty" jsonschema:"minimum=1,maximum=1000000" jsonschema_description:"How many, then no more. Not given: all from now on."`
}

type repeatForm struct {
	place
	Times *integer        `json:"times" jsonschema:"minimum=1,maximum=1000"`
	Steps *list[stepForm] `json:"steps" jsonschema:"minItems=1"`
}

// expectForm is what a step expects; expectable says which fields a verb has.
type expectForm struct {
	place
	any     bool          // written as the bare word any
	When    *condition    `json:"when,omitempty" jsonschema_description:"The row counts only in the cells that fit."`
	Result  *outcome      `json:"result,omitempty" jsonschema_description:"ok, or the errno that the step's own call ends with."`
	Bind    *outcome      `json:"bind,omitempty" jsonschema_description:"ok, or the errno of bind()."`
	Listen  *outcome      `json:"listen,omitempty" jsonschema_description:"ok, or the errno of listen()."`
	Connect *outcome      `json:"connect,omitempty" jsonschema_description:"ok, or the errno of connect()."`
	Exit    *amount       `json:"exit,omitempty" jsonschema_description:"The exit code."`
	Signal  *signalName   `json:"signal,omitempty" jsonschema_description:"The signal that ended the program."`
	Lines   *list[scalar] `json:"lines,omitempty" jsonschema:"minItems=1" jsonschema_description:"Whole output lines, in order; others may stand between them."`
	Holders *holders      `json:"holders,omitempty" jsonschema_description:"The complete tally of the sockets that held the port when bind() or listen() failed."`
	States  *states       `json:"states,omitempty" jsonschema_description:"The complete tally of the host's sockets on the file's port; {} is none."`
	Queued  *amount       `json:"queued,omitempty" jsonschema_description:"Connections that no program has accepted."`
	Text    *scalar       `json:"text,omitempty" jsonschema_description:"What recv() must read, whole."`
	Port    *amount       `json:"port,omitempty" jsonschema_description:"The local port that the socket has then."`
	Took    *took         `json:"took,omitempty" jsonschema_description:"How long it took, from this step's begin or since another's."`
}

// untilForm is what a wait waits for, in the words of expectForm.
type untilForm struct {
	place
	States *states       `json:"states,omitempty" jsonschema_description:"The complete tally of the host's sockets on the file's port; {} is none."`
	Queued *amount       `json:"queued,omitempty" jsonschema_description:"Connections that no program has accepted."`
	Lines  *list[scalar] `json:"lines,omitempty" jsonschema:"minItems=1" jsonschema_description:"Whole output lines, in order; others may stand between them."`
	Exit   *amount       `json:"exit,omitempty" jsonschema_description:"The program has exited with this code."`
	Signal *signalName   `json:"signal,omitempty" jsonschema_description:"The program was ended by this signal."`
}

// bareField is the field that a bare name stands for, where only a verb's
// object is needed: "start: app".
func (startForm) bareField() string    { return "program" }
func (runForm) bareField() string      { return "program" }
func (stopForm) bareField() string     { return "program" }
func (netstatForm) bareField() string  { return "host" }
func (bindForm) bareField() string     { return "socket" }
func (listenForm) bareField() string   { return "socket" }
func (recvForm) bareField() string     { return "socket" }
func (shutdownForm) bareField() string { return "socket" }
func (closeForm) bareField() string    { return "socket" }
func (destroyForm) bareField() string  { return "socket" }
func (dropForm) bareField() string     { return "host" }

// verbRepeat is the one verb that no plan has: its steps are unrolled.
const verbRepeat = "repeat"

// A verbForm is the form of a verb.
type verbForm interface{ isVerb() }

func (startForm) isVerb()      {}
func (runForm) isVerb()        {}
func (stopForm) isVerb()       {}
func (signalForm) isVerb()     {}
func (waitForm) isVerb()       {}
func (netstatForm) isVerb()    {}
func (sysctlForm) isVerb()     {}
func (linkForm) isVerb()       {}
func (repeatForm) isVerb()     {}
func (bindForm) isVerb()       {}
func (listenForm) isVerb()     {}
func (connectForm) isVerb()    {}
func (acceptForm) isVerb()     {}
func (sendForm) isVerb()       {}
func (recvForm) isVerb()       {}
func (shutdownForm) isVerb()   {}
func (closeForm) isVerb()      {}
func (setsockoptForm) isVerb() {}
func (inheritForm) isVerb()    {}
func (passForm) isVerb()       {}
func (destroyForm) isVerb()    {}
func (holdForm) isVerb()       {}
func (dropForm) isVerb()       {}

// What the outcome of a step shows, by what the lab can record of it.
var (
	ofServer  = []string{"bind", "listen", "holders", "exit", "signal", "lines", "took"}
	ofClient  = []string{"connect", "exit", "signal", "lines", "took"}
	ofExec    = []string{"exit", "signal", "lines", "took"}
	ofCall    = []string{"result"}
	ofBind    = []string{"result", "holders", "port", "took"}
	ofListen  = []string{"result", "holders", "took"}
	ofConnect = []string{"result", "port", "took"}
	ofRecv    = []string{"result", "text", "took"}
	ofSocket  = []string{"result", "took"} // the other calls
	ofQueue   = []string{"queued"}         // a socket's, in a wait's until
	ofTable   = []string{"states", "queued"}
	ofTime    = []string{"took"}
	ofProgram = []string{"lines", "exit", "signal"} // a wait's until
)
