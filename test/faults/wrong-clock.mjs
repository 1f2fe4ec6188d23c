// Preloaded into a service: `wrong-clock.mjs?ms=3600000` sets its wall clock an hour ahead; at each SIGUSR2 a clock that is wrong becomes right, and a right one wrong.
const ms = Number(new URL(import.meta.url).searchParams.get('ms'));
const Right = Date;
let wrong = new URL(import.meta.url).searchParams.get('when') !== 'told';

globalThis.Date = class WrongDate extends Right {
  constructor(...args) {
    if (args.length === 0) super(Date.now());
    else super(...args);
  }

  static now() {
    return Right.now() + (wrong ? ms : 0);
  }
};

process.on('SIGUSR2', () => {
  wrong = !wrong;
});
