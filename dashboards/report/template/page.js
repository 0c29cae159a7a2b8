// Puts the charts on the page, and passes on to them what is chosen in its form elements: each sets the parameter that
// its data-sets names (an entry of it where it has a data-place), in every chart or in those of its data-for. A live
// page asks its server again and again, and shows what is new without losing what was chosen.
(() => {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const ERRORS = 1; // of Vega's log, and no warnings: data comes after the chart, which so begins empty
  const views = new Map(); // chart's id -> its view
  let facts = read(document);

  function read(page) {
    return JSON.parse(page.getElementById("facts").textContent);
  }

  function value(input) {
    if (input.type === "checkbox") return input.checked;
    if (input.type === "number") return Number(input.value || input.defaultValue);
    return "flag" in input.dataset ? input.value !== "" : input.value;
  }

  function chosen(chart) {
    const found = { ...facts.chosen };
    for (const input of document.querySelectorAll("[data-sets]")) {
      const { sets, place } = input.dataset;
      if (input.dataset.for && !input.dataset.for.split(" ").includes(chart)) continue;
      if (place === undefined) found[sets] = value(input);
      else found[sets] = Object.assign([...(found[sets] || [])], { [place]: value(input) });
    }
    return found;
  }

  // As wide as its place, whatever its height: what Vega-Lite makes of "container" where the height is not one of steps.
  function fitted(chart) {
    if (chart.autosize?.type === "fit-x") return chart;
    const { width, signals = [], ...rest } = chart;
    const size = `max(containerSize()[0] || ${width}, 100)`;
    const own = { name: "width", init: size, on: [{ update: size, events: "window:resize" }] };
    return { ...rest, autosize: { type: "fit-x", contains: "padding" }, signals: [...signals, own] };
  }

  async function draw(element) {
    const spec = structuredClone(facts.charts[element.id]);
    const set = chosen(element.id);
    for (const param of spec.params) if (param.name in set) param.value = set[param.name];
    if (set.log && facts.logarithmic.includes(element.id))
      for (const layer of spec.layer) layer.encoding.y.scale = { type: "log", nice: false };
    views.get(element.id)?.finalize();
    const config = dark.matches ? facts.dark : facts.light;
    const { view } = await vegaEmbed(element, spec, { config, ast: true, actions: false, renderer: "canvas", logLevel: ERRORS, patch: fitted });
    view.addEventListener("click", (_, item) => {
      const command = item?.datum?.repeat ?? item?.datum?.datum?.repeat; // a point, or the region nearest to one
      if (command) document.querySelector("#command code").textContent = command;
    });
    views.set(element.id, view);
    await fill(element.id, view);
  }

  async function fill(chart, view) {
    for (const name of facts.uses[chart]) view.data(name, facts.data[name].map((row) => ({ ...row })));
    await view.resize().runAsync(); // what an axis says takes room, and an empty one says nothing
  }

  // A chart is drawn when it is first seen.
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) show(target);
  }, { rootMargin: "200px" });

  function show(element) {
    seen.unobserve(element);
    return draw(element).then(() => { element.dataset.drawn = "true"; });
  }

  function watch() {
    for (const element of document.querySelectorAll(".chart")) seen.observe(element);
  }

  function redraw() {
    for (const element of document.querySelectorAll(".chart[data-drawn]")) draw(element);
  }

  document.addEventListener("input", ({ target }) => {
    if (!target.dataset.sets) return;
    if ("narrows" in target.dataset) document.querySelector("[data-sets=best]").value = "";
    if (target.dataset.sets === "log") return redraw();
    pass();
  });

  document.addEventListener("click", ({ target }) => {
    if (!target.dataset.all) return;
    for (const box of document.querySelectorAll("[data-sets=arms]")) box.checked = target.dataset.all === "true";
    pass();
  });

  function pass() {
    for (const [chart, view] of views) {
      for (const [name, value] of Object.entries(chosen(chart))) view.signal(name, value);
      view.resize().runAsync();
    }
  }

  dark.addEventListener("change", redraw);
  watch();

  const every = 1000 * Number(document.body.dataset.every);
  if (every) setTimeout(ask, every);

  async function ask() {
    try {
      if (!document.hidden) {
        const answer = await fetch("progress");
        const section = document.getElementById("progress");
        const open = section.querySelector("details")?.open;
        section.innerHTML = await answer.text();
        if (open) section.querySelector("details")?.setAttribute("open", "");
        if (answer.headers.get("X-Newer") === "yes")
          renew(new DOMParser().parseFromString(await (await fetch(location.pathname)).text(), "text/html"));
      }
    } catch {
      document.querySelector(".kind").textContent = "Pliant: the server has stopped; this is how things stood";
    }
    setTimeout(ask, every);
  }

  function renew(page) {
    document.title = page.title;
    const same = page.getElementById("controls")?.innerHTML === document.getElementById("controls")?.innerHTML;
    const before = JSON.stringify(facts.charts);
    facts = read(page);
    if (!same || before !== JSON.stringify(facts.charts)) return location.reload(); // another metric, arm or panel
    for (const part of page.querySelectorAll("[data-live]")) {
      const open = [...document.querySelectorAll(`#${part.id} details`)].map((each) => each.open);
      document.getElementById(part.id).innerHTML = part.innerHTML;
      document.querySelectorAll(`#${part.id} details`).forEach((each, place) => { each.open = open[place] || false; });
    }
    for (const [chart, view] of views) fill(chart, view);
  }
})();
