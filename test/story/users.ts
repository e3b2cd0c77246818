/** Users whom no machine has: numbers between those of people and of dynamic services. */
export const USERS = [
  { name: 'rstudio', uid: 60_501 },
  { name: 'shiny', uid: 60_502 },
] as const;
