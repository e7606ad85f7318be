"use strict";
// The operator's page: asks for /admin/data every few seconds and shows it. It changes nothing.

const WORDS = {
  en: {
    operation: "operation", held: "held: nothing is begun", token: "Operator's token",
    enter: "Enter", refused: "This token is not the service's admin_token.", running: "Running",
    waiting: "Waiting", queue: "Queue by tier", workers: "Workers", failures: "Failures",
    day: "of 24 hours", costs: "Costs", per_second: "of a second of output",
    sold_at: "If a second of output is sold at", credits: "Credits", foretold: "Foretold ends",
    stores: "Database and storage", waits: "waiting", runs: "running", oldest: "oldest waits",
    left: "until all is done", failed24: "failed in 24 h", done24: "completed in 24 h",
    eta_error: "error of foretold ends", workers_there: "workers",
    video: "video", account: "account", tier: "tier", model: "model", progress: "progress",
    worker: "worker", age: "age", ends: "done in", starts: "starts in", place: "place",
    prompt: "prompt", host: "host", pid: "process", up: "up", beat: "last sign", state: "state",
    idle: "idle", busy: "busy", draining: "draining", silent: "silent", reason: "reason",
    message: "message", ago: "ago", queued_: "waiting", running_: "running", paused_: "paused",
    completed_: "completed", failed_: "failed", cancelled_: "cancelled", all: "all", videos24: "videos in 24 h",
    foretold_s: "worker seconds, foretold", measured_s: "measured", cost: "cost", in_credits: "credits",
    margin: "margin", may_take: "worker seconds it allows", count: "videos", med: "median error",
    nine: "9 of 10 below", bias: "told minus real, median", balances: "balances",
    reserved: "reserved", charged: "charged, 24 h", granted: "granted, 24 h",
    refunded: "refunded, 24 h", database: "database", size: "size", schema: "schema",
    answers: "answers in", storage: "storage", free: "free", hooks: "webhooks waiting",
    applying: "applications waiting", none_running: "nothing runs", none_waiting: "nothing waits",
    none_workers: "no worker is there: the queue stands still", none_failed: "nothing failed",
    none_foretold: "none finished", shown: (n, of) => `the first ${n} of ${of}`,
    at: (t) => `as of ${t}`, away: "the service does not answer", put_off: "put off for",
    stop_cancel: "to be cancelled", stop_pause: "to be paused",
    worker_cost: (c) => `a worker second costs you ${c}: setting worker_cost`,
    loading: "loading", load: "loading", condition: "reading the prompt", denoise: "denoising",
    decode: "decoding", outdated: "is not the newest", attempt: "attempt",
  },
  zh: {
    operation: "运维", held: "已暂停派发：不再开始新任务", token: "管理员令牌", enter: "进入",
    refused: "此令牌与服务的 admin_token 不符。", running: "运行中", waiting: "排队中",
    queue: "各级别的队列", workers: "工作进程", failures: "失败", day: "24 小时内",
    costs: "成本", per_second: "每秒成片", sold_at: "若每秒成片售价为", credits: "积分",
    foretold: "完成时间预估", stores: "数据库与存储", waits: "排队", runs: "运行", oldest: "最久等待",
    left: "全部完成还需", failed24: "24 小时失败", done24: "24 小时完成",
    eta_error: "预估误差", workers_there: "工作进程", video: "视频", account: "账户",
    tier: "级别", model: "模型", progress: "进度", worker: "工作进程", age: "已提交", ends: "预计完成",
    starts: "预计开始", place: "位次", prompt: "提示词", host: "主机", pid: "进程号", up: "已运行",
    beat: "上次心跳", state: "状态", idle: "空闲", busy: "忙", draining: "退出中", silent: "失联",
    reason: "原因", message: "说明", ago: "距今", queued_: "排队", running_: "运行",
    paused_: "暂停", completed_: "完成", failed_: "失败", cancelled_: "取消", all: "合计", videos24: "24 小时视频数",
    foretold_s: "预估工作秒数", measured_s: "实测", cost: "成本", in_credits: "积分", margin: "毛利率",
    may_take: "可用工作秒数", count: "视频数", med: "误差中位数", nine: "九成低于",
    bias: "预估减实际（中位数）", balances: "余额", reserved: "冻结", charged: "24 小时扣费",
    granted: "24 小时发放", refunded: "24 小时退还", database: "数据库", size: "大小",
    schema: "结构版本", answers: "响应", storage: "存储", free: "可用", hooks: "待发回调",
    applying: "待审申请", none_running: "没有运行中的任务", none_waiting: "没有排队的任务",
    none_workers: "没有工作进程：队列停滞", none_failed: "没有失败", none_foretold: "尚无完成的视频",
    shown: (n, of) => `前 ${n} 个，共 ${of} 个`, at: (t) => `截至 ${t}`, away: "服务没有响应",
    put_off: "推迟", stop_cancel: "待取消", stop_pause: "待暂停",
    worker_cost: (c) => `每工作秒成本 ${c}：设置项 worker_cost`,
    loading: "加载中", load: "加载中", condition: "读取提示词", denoise: "去噪", decode: "解码",
    outdated: "不是最新", attempt: "重试",
  },
};
const EVERY = 3000; // milliseconds between two looks
const $ = (id) => document.getElementById(id);
let language = stored("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
let latest = null;
let asking = false;

function stored(name, value) {
  try {
    if (value === undefined) return sessionStorage.getItem(`kineo-${name}`);
    sessionStorage.setItem(`kineo-${name}`, value);
  } catch { /* a browser that keeps nothing asks again */ }
  return null;
}

function word(name) {
  return WORDS[language][name] ?? name;
}

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.max(Math.round(seconds), 0);
  const zh = language === "zh";
  if (s < 60) return zh ? `${s} 秒` : `${s} s`;
  if (s < 3600) return zh ? `${Math.floor(s / 60)} 分 ${s % 60} 秒` : `${Math.floor(s / 60)} min ${s % 60} s`;
  const h = Math.floor(s / 3600), m = Math.floor((s % 3600) / 60);
  if (s < 172800) return zh ? `${h} 小时 ${m} 分` : `${h} h ${m} min`;
  return zh ? `${Math.floor(s / 86400)} 天` : `${Math.floor(s / 86400)} d`;
}

function number(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: digits }).replaceAll(",", "\u202f");
}

function money(value) {
  return value === null || value === undefined ? "–" : Number(value.toPrecision(3)).toString();
}

function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000) return `${number(value, value < 10 && unit !== "B" ? 1 : 0)} ${unit}`;
    value /= 1000;
  }
  return `${number(value, 1)} TB`;
}

const share = (value) => `${Math.round(100 * value)} %`;

function make(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.append(text);
  if (kind) made.className = kind;
  return made;
}

// A column: [name of the heading, what the cell shows, its class]. On small screens each row
// becomes a card, and a cell's name stands before it unless its class says what it is.
function table(place, rows, columns, none) {
  const box = $(place);
  const at = [box.scrollTop, box.scrollLeft];
  if (!rows.length) {
    box.replaceChildren(make("p", word(none), none === "none_workers" ? "bad" : "none"));
    return;
  }
  const head = make("tr");
  for (const [name, , kind] of columns) {
    head.append(make("th", word(name), (kind || "").includes("number") ? "number" : ""));
  }
  const body = make("tbody");
  for (const row of rows) {
    const line = make("tr");
    for (const [name, shows, kind = ""] of columns) {
      const value = shows(row);
      const cell = make("td", value ?? "", value === null || value === "" ? `${kind} empty` : kind);
      if (!/\b(id|text|wide|plain)\b/.test(kind)) cell.dataset.name = word(name);
      line.append(cell);
    }
    body.append(line);
  }
  const made = make("table", null, "cards");
  const top = make("thead");
  top.append(head);
  made.append(top, body);
  box.replaceChildren(made);
  [box.scrollTop, box.scrollLeft] = at;
}

function list(place, found) {
  $(place).replaceChildren(
    ...found.flatMap(([name, value, kind]) => [make("dt", word(name)), make("dd", value, kind)]),
  );
}

function bar(row) {
  const box = document.createDocumentFragment();
  const shown = make("progress");
  shown.max = 1;
  shown.value = row.progress;
  const stop = row.wanted ? ` · ${word(`stop_${row.wanted}`)}` : "";
  box.append(shown, `${Math.floor(100 * row.progress)} % · ${word(row.stage)} ${row.steps_done}/${row.steps}${stop}`);
  return box;
}

// An id as short as it can still be told by: whole, it is in the table of workers.
function brief(id) {
  return id && id.length > 15 ? `${id.slice(0, 14)}…` : id;
}

const COMMON = [
  ["video", (v) => v.id, "id"],
  ["account", (v) => v.account_name, "plain"],
  ["tier", (v) => v.tier, "plain"],
  ["model", (v) => v.model, "plain"],
];

function tiles(data) {
  const states = data.queue.states;
  const error = data.eta.count ? share(data.eta.median) : "–";
  const alive = data.workers.length;
  $("tiles").replaceChildren(
    ...[
      ["waits", number(states.queued)],
      ["runs", number(states.running)],
      ["workers_there", number(alive), alive ? "" : "bad"],
      ["oldest", span(data.queue.oldest_seconds)],
      ["left", span(data.queue.left_seconds)],
      ["done24", number(states.completed)],
      ["failed24", number(states.failed), states.failed ? "bad" : ""],
      ["eta_error", error],
    ].map(([name, value, kind]) => {
      const tile = make("div", null, "tile");
      tile.append(make("b", value, kind), make("span", word(name)));
      return tile;
    }),
  );
}

function queue(data) {
  const names = ["queued", "running", "paused", "completed", "failed", "cancelled"];
  const rows = [...data.queue.tiers];
  if (rows.length !== 1) rows.push({ tier: word("all"), ...data.queue.states });
  const cell = (n) => (n ? number(n) : make("span", "0", "zero"));
  table("queue", rows, [
    ["tier", (r) => r.tier, "wide"],
    ...names.map((name) => [`${name}_`, (r) => cell(r[name]), "number"]),
  ], "none_waiting");
}

function workers(data) {
  table("workers", data.workers, [
    ["worker", (w) => w.id, "id"],
    ["host", (w) => w.host],
    ["pid", (w) => w.pid, "number"],
    ["up", (w) => span(w.up_seconds), "number"],
    ["beat", (w) => span(w.beat_seconds), "number"],
    ["state", (w) => {
      if (w.beat_seconds > data.dead_after) return make("span", word("silent"), "tag bad");
      if (w.draining) return make("span", word("draining"), "tag warn");
      return make("span", word(w.video ? "busy" : "idle"), w.video ? "tag good" : "tag quiet");
    }, "plain"],
  ], "none_workers");
}

function failures(data) {
  $("reasons").replaceChildren(
    ...data.failures.reasons.map((r) => make("span", `${r.code} × ${number(r.count)}`, "tag bad")),
  );
  table("failures", data.failures.newest, [
    ["ago", (f) => span(f.ago_seconds)],
    ["video", (f) => f.id, "id"],
    ["model", (f) => f.model, "plain"],
    ["reason", (f) => f.code, "plain"],
    ["message", (f) => f.message, "text"],
  ], "none_failed");
}

function costs(data) {
  const price = Number.parseFloat($("price").value);
  const sold = price > 0;
  $("cost_note").textContent = word("worker_cost")(money(data.worker_cost));
  table("models", data.models, [
    ["model", (m) => m.id, "wide"],
    ["videos24", (m) => number(m.videos_today), "number"],
    ["foretold_s", (m) => number(m.worker_seconds), "number"],
    ["measured_s", (m) => number(m.measured_worker_seconds), "number"],
    ["in_credits", (m) => number(m.credits), "number"],
    ["cost", (m) => money(m.cost), "number"],
    ...(sold ? [
      ["margin", (m) => {
        const left = 1 - m.cost / price;
        return make("b", share(left), left < 0 ? "bad" : "good");
      }, "number"],
      ["may_take", () => (data.worker_cost > 0 ? number(price / data.worker_cost) : "–"), "number"],
    ] : []),
  ], "none_waiting");
}

function lists(data) {
  const c = data.credits, e = data.eta, d = data.database, s = data.storage;
  list("credits", [["balances", number(c.balances)], ["reserved", number(c.reserved)],
    ["charged", number(c.charged_today)], ["refunded", number(c.refunded_today)],
    ["granted", number(c.granted_today)]]);
  list("eta", e.count ? [["count", number(e.count)],
    ["med", `${share(e.median)} · ${span(e.median_seconds)}`],
    ["nine", `${share(e.p90)} · ${span(e.p90_seconds)}`],
    ["bias", `${e.bias_seconds < 0 ? "−" : "+"}${span(Math.abs(e.bias_seconds))}`],
  ] : [["count", word("none_foretold")]]);
  const old = d.schema !== d.newest_schema;
  const free = s.free_bytes === null ? [] :
    [["free", `${bytes(s.free_bytes)} / ${bytes(s.bytes)}`, s.free_bytes < 0.05 * s.bytes ? "bad" : ""]];
  list("stores", [["database", d.address, "id"], ["size", bytes(d.bytes)],
    ["schema", old ? `${d.schema} ${word("outdated")}` : d.schema, old ? "bad" : ""],
    ["answers", `${number(d.answer_ms)} ms`], ["storage", s.address, "id"],
    ["answers", s.state === "ok" ? `${number(s.answer_ms)} ms` : s.state, s.state === "ok" ? "" : "bad"],
    ...free, ["hooks", number(d.webhooks_waiting)], ["applying", number(d.applications_waiting)]]);
}

function show() {
  document.documentElement.lang = language;
  for (const place of document.querySelectorAll("[data-word]")) {
    place.textContent = word(place.dataset.word);
  }
  $("language").textContent = language === "zh" ? "English" : "中文";
  $("language").lang = language === "zh" ? "en" : "zh";
  if (latest === null) return;
  const data = latest;
  $("held").hidden = !data.held;
  const time = new Date(1000 * data.now).toLocaleTimeString(language === "zh" ? "zh" : "en-GB");
  $("seen").textContent = `${data.version} · ${word("at")(time)}`;
  const waiting = data.queue.states.queued;
  $("shown").textContent = waiting > data.waiting.length ? word("shown")(data.waiting.length, waiting) : "";
  tiles(data);
  table("running", data.running, [
    ["progress", bar, "wide"], ...COMMON,
    ["worker", (v) => brief(v.worker), "id"],
    ["age", (v) => span(v.age_seconds), "number"],
    ["ends", (v) => span(v.ends_in), "number"],
    ["prompt", (v) => v.prompt, "text"],
  ], "none_running");
  table("waiting", data.waiting, [
    ["place", (v) => v.position, "number"], ...COMMON,
    ["age", (v) => span(v.age_seconds), "number"],
    ["starts", (v) => (v.put_off > 0 ? `${word("put_off")} ${span(v.put_off)}` : span(v.starts_in)), "number"],
    ["ends", (v) => span(v.ends_in), "number"],
    ["prompt", (v) => v.prompt, "text"],
  ], "none_waiting");
  queue(data);
  workers(data);
  failures(data);
  costs(data);
  lists(data);
}

async function look() {
  if (asking) return;
  asking = true;
  try {
    const token = stored("token");
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch("/admin/data", { headers, cache: "no-store" });
    if (answer.status === 403) {
      $("door").hidden = false;
      $("board").hidden = true;
      $("refused").hidden = !token;
      stored("token", "");
      latest = null;
    } else if (answer.ok) {
      latest = await answer.json();
      $("door").hidden = true;
      $("board").hidden = false;
      show();
    } else {
      $("seen").textContent = word("away");
    }
  } catch {
    $("seen").textContent = word("away");
  } finally {
    asking = false;
  }
}

$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  stored("language", language);
  show();
});
$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  stored("token", $("token").value.trim());
  $("token").value = "";
  look();
});
$("price").addEventListener("input", () => {
  stored("price", $("price").value);
  if (latest) costs(latest);
});
document.addEventListener("visibilitychange", () => document.hidden || look());
$("price").value = stored("price") || "";
show();
look();
setInterval(() => { if (!document.hidden && $("door").hidden) look(); }, EVERY);
