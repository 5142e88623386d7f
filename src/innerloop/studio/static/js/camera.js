/** The camera, which is asked for when it is wanted and let go at once afterwards. */

import { h, toast } from "./dom.js";
import { t } from "./i18n.js";

export class Camera {
  constructor() {
    this.video = h("video", { autoplay: true, playsinline: true, muted: true });
    this.stream = null;
  }

  get running() {
    return this.stream !== null;
  }

  /** Whether it could be started. */
  async start() {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: 640 }, audio: false });
    } catch {
      toast(t("no_camera"));
      return false;
    }
    this.video.srcObject = this.stream;
    await this.video.play();
    return true;
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = this.video.srcObject = null;
  }
}
