// Views for Tiled's web UI, which gives them React: runs by sample, kind, operator and date; one run; results.
(() => {
  const { createElement: h, useEffect, useState } = window.React;
  const API = "/api/v1";
  const PAGE = 50;
  const START = ["uid", "time", "sample_name", "scan_type", "plan_name", "operator", "experiment_uid"];
  const SELECTED = `{${START.map((key) => `${key}:start.${key}`).join(",")},ended:stop.exit_status,frames:stop.num_events.primary}`;

  const ask = async (path, parameters = {}) => {
    const token = window.__TILED_ACCESS_TOKEN__;
    const query = new URLSearchParams(parameters);
    const answer = await fetch(`${API}/${path}?${query}`, token ? { headers: { Authorization: `Bearer ${token}` } } : {});
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    return answer.json();
  };

  // what is asked for, again whenever one of `causes` changes; a late answer to an earlier question is dropped
  const useAnswer = (question, causes) => {
    const [answer, setAnswer] = useState({});
    useEffect(() => {
      let current = true;
      question().then(
        (found) => current && setAnswer({ found }),
        (error) => current && setAnswer({ error: error.message }),
      );
      return () => { current = false; };
    }, causes);
    return answer;
  };

  const link = (segments, text) => h("a", { href: `/ui/browse/${segments.map(encodeURIComponent).join("/")}` }, text);
  const when = (seconds) => (seconds ? new Date(1000 * seconds).toLocaleString() : "");
  const ended = (run) => ({ success: "done", abort: "stopped", fail: "failed" })[run.ended] || "still running";
  const kind = (run) => (run.scan_type || run.plan_name || "run").replaceAll("_", " ");
  const cell = { padding: "0.4em 0.8em", textAlign: "left", borderBottom: "1px solid #ddd" };

  const table = (heads, rows) =>
    h("table", { style: { borderCollapse: "collapse", width: "100%", fontSize: "0.9rem" } },
      h("thead", null, h("tr", null, heads.map((head) => h("th", { key: head, style: cell }, head)))),
      h("tbody", null, rows.map((row, n) => h("tr", { key: n }, row.map((entry, m) => h("td", { key: m, style: cell }, entry))))));

  const state = ({ found, error }, shown) =>
    error ? h("p", { role: "alert" }, `The server did not answer: ${error}`) : found ? shown(found) : h("p", null, "…");

  const filters = (wanted) => {
    const asked = [];
    const add = (query, condition) =>
      Object.entries(condition).forEach(([key, value]) => asked.push([`filter[${query}][condition][${key}]`, value]));
    for (const key of ["sample_name", "operator"])
      if (wanted[key]) add("like", { key: `start.${key}`, pattern: JSON.stringify(`%${wanted[key]}%`) });
    if (wanted.scan_type) add("eq", { key: "start.scan_type", value: JSON.stringify(wanted.scan_type) });
    const midnight = (date, days) => new Date(`${date}T00:00`).getTime() / 1000 + 86400 * days;
    if (wanted.from) add("comparison", { operator: "ge", key: "start.time", value: midnight(wanted.from, 0) });
    if (wanted.to) add("comparison", { operator: "lt", key: "start.time", value: midnight(wanted.to, 1) });
    return asked;
  };

  const KINDS = ["", "tomography", "sims_raster", "milling", "deposition", "se_image", "eds_map"];
  const FIELDS = [["sample_name", "sample"], ["scan_type", "kind"], ["operator", "operator"], ["from", "from"], ["to", "to"]];

  const Runs = ({ segments }) => {
    const [wanted, setWanted] = useState({});
    const [first, setFirst] = useState(0);
    const want = (key) => (event) => { setFirst(0); setWanted({ ...wanted, [key]: event.target.value }); };
    const answer = useAnswer(
      () => ask(`search/${segments.join("/")}`, [
        ["fields", "metadata"], ["select_metadata", SELECTED], ["sort", "-start.time"],
        ["page[offset]", first], ["page[limit]", PAGE], ...filters(wanted),
      ]),
      [JSON.stringify(wanted), first],
    );
    const results = useAnswer(() => ask("search/results", [["fields", ""], ["page[limit]", 300]]), []);
    const having = new Set((results.found?.data || []).map((node) => node.id));
    const field = ([key, label]) => h("label", { key, style: { marginRight: "1em" } }, `${label} `,
      key === "scan_type"
        ? h("select", { name: key, onChange: want(key) }, KINDS.map((name) => h("option", { key: name, value: name }, name.replaceAll("_", " ") || "any")))
        : h("input", { name: key, size: 12, type: key === "from" || key === "to" ? "date" : "search", onChange: want(key) }));
    const row = ({ id, attributes: { metadata: { selected: run } } }) => [
      link([...segments, id], when(run.time)), kind(run), run.sample_name, run.operator, run.frames, ended(run),
      having.has(id) ? link(["results", id], "results") : "",
    ];
    const page = (step, text, there) =>
      h("button", { onClick: () => setFirst(first + step), disabled: !there, style: { marginRight: "1em" } }, text);
    return h("section", null,
      h("h2", null, "Runs"),
      h("form", { onSubmit: (event) => event.preventDefault(), style: { marginBottom: "1em" } }, FIELDS.map(field)),
      state(answer, ({ data, meta }) => h("div", null,
        table(["when", "kind", "sample", "operator", "frames", "ended", ""], data.map(row)),
        h("p", null, page(-PAGE, "later", first > 0), page(PAGE, "earlier", first + PAGE < meta.count),
          `${meta.count} run${meta.count === 1 ? "" : "s"}`))));
  };

  const names = async (...segments) =>
    (await ask(`search/${segments.join("/")}`, [["fields", ""], ["page[limit]", 300]])).data.map((node) => node.id);

  const Run = ({ segments, item }) => {
    const { start = {}, stop } = item.data.attributes.metadata;
    const uid = segments[segments.length - 1];
    const streams = useAnswer(() => names(...segments), [uid]);
    const results = useAnswer(() => names("results", uid).catch(() => []), [uid]);
    const links = (answer, place) => state(answer, (found) =>
      found.length ? h("ul", null, found.map((name) => h("li", { key: name }, link([...place, name], name)))) : h("p", null, "none"));
    const simple = ([key, value]) => !["uid", "time"].includes(key) && ["string", "number", "boolean"].includes(typeof value);
    return h("section", null,
      h("h2", null, `${kind(start)}: ${start.sample_name || uid}`),
      h("p", null, [when(start.time), start.operator, ended({ ended: stop?.exit_status })].filter(Boolean).join(" · ")),
      h("h3", null, "Streams"), links(streams, segments),
      h("h3", null, "Results"), links(results, ["results", uid]),
      h("h3", null, "Start document"), table(["key", "value"], Object.entries(start).filter(simple).map(([key, value]) => [key, String(value)])));
  };

  const Results = ({ segments }) => {
    const answer = useAnswer(async () => {
      const runs = await names(...segments);
      return Promise.all(runs.map(async (uid) => {
        const [of, kinds] = await Promise.all([
          ask(`metadata/runs/${uid}`, [["fields", "metadata"], ["select_metadata", SELECTED]]).catch(() => null),
          names(...segments, uid),
        ]);
        return { uid, run: of?.data.attributes.metadata.selected || {}, kinds };
      }));
    }, []);
    const row = ({ uid, run, kinds }) => [
      link([...segments, uid], when(run.time) || uid), kind(run), run.sample_name,
      h("span", null, kinds.flatMap((name) => [link([...segments, uid, name], name), " "])),
    ];
    const newest = (a, b) => (b.run.time || 0) - (a.run.time || 0);
    return h("section", null, h("h2", null, "Results"),
      state(answer, (found) => table(["of the run of", "kind", "sample", "results"], found.sort(newest).map(row))));
  };

  window.__TILED_SPEC_VIEWS__ = { ...window.__TILED_SPEC_VIEWS__, CatalogOfBlueskyRuns: Runs, BlueskyRun: Run, Results };
})();
