/* A page that is opened from a disk may not start a worker, and search is one: here a hidden frame does its work. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc =
        "<script>self.postMessage = m => parent.dispatchEvent(new MessageEvent('frame', {data: m, source: window}));" +
        "self.importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((done, failed) => {" +
        "const s = document.createElement('script'); s.src = url; s.onload = done; s.onerror = failed; document.body.append(s)" +
        "})), Promise.resolve())</" + "script><script src=\"" + url + "\"></" + "script>";
      this.ready = new Promise(done => (frame.onload = done));
      this.frame = frame;
      window.addEventListener("frame", event => {
        if (event.source !== frame.contentWindow) return;
        const told = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(told);
        if (this.onmessage) this.onmessage(told);
      });
      if (document.body) document.body.append(frame);
      else document.addEventListener("DOMContentLoaded", () => document.body.append(frame));
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
