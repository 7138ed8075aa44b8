/* Stop words of English and Chinese, written for brisk.
 *
 * Chosen by grammar, not by counting: the closed classes that no topic depends on. English: articles,
 * pronouns, forms of be, have and do, modal verbs and their contractions, prepositions, conjunctions,
 * question words, the adverbs of degree and place that stand in for nothing. Chinese: structural and
 * aspect particles, pronouns and demonstratives, prepositions, conjunctions, adverbs of degree and
 * scope. Left out on purpose: negation (not, no, never, 不, 没), as a text without it says the opposite;
 * numbers; and in Chinese single characters that are mostly parts of other words (会, 对, 能, 要, 大). */
#include "text/stop_words.h"

static const char english[] =
    /* articles, demonstratives, quantifiers */
    "a\nan\nthe\nthis\nthat\nthese\nthose\nsuch\nsome\nany\neach\nevery\nboth\neither\nall\nmost\n"
    "more\nother\nanother\nsame\nown\n"
    /* pronouns */
    "i\nme\nmy\nmine\nmyself\nwe\nus\nour\nours\nourselves\nyou\nyour\nyours\nyourself\nyourselves"
    "\n"
    "he\nhim\nhis\nhimself\nshe\nher\nhers\nherself\nit\nits\nitself\nthey\nthem\ntheir\ntheirs\n"
    "themselves\none\n"
    /* be, have, do, modal verbs */
    "am\nis\nare\nwas\nwere\nbe\nbeen\nbeing\nhave\nhas\nhad\nhaving\ndo\ndoes\ndid\ndoing\ndone\n"
    "will\nwould\nshall\nshould\ncan\ncould\nmay\nmight\nmust\nought\n"
    /* contractions without negation */
    "i'm\ni've\ni'll\ni'd\nwe're\nwe've\nwe'll\nwe'd\nyou're\nyou've\nyou'll\nyou'd\nhe's\nhe'll\n"
    "he'd\nshe's\nshe'll\nshe'd\nit's\nit'll\nthey're\nthey've\nthey'll\nthey'd\nthat's\nthere's\n"
    "who's\nwhat's\nlet's\n"
    /* prepositions */
    "about\nabove\nacross\nafter\nagainst\nalong\namong\naround\nat\nbefore\nbehind\nbelow\nbeneath"
    "\n"
    "beside\nbetween\nbeyond\nby\ndown\nduring\nexcept\nfor\nfrom\nin\ninside\ninto\nlike\nnear\nof"
    "\n"
    "off\non\nonto\nout\noutside\nover\nsince\nthrough\nthroughout\nto\ntoward\ntowards\nunder\n"
    "until\nunto\nup\nupon\nwith\nwithin\nwithout\n"
    /* conjunctions */
    "and\nor\nbut\nif\nbecause\nas\nwhile\nthan\nthough\nalthough\nunless\nwhereas\nwhether\nso\n"
    "yet\n"
    /* question words and relatives */
    "who\nwhom\nwhose\nwhich\nwhat\nwhen\nwhere\nwhy\nhow\n"
    /* adverbs */
    "again\nalso\nalready\nalmost\nalways\neven\never\nhere\njust\nmuch\nonly\noften\nquite\nrather"
    "\n"
    "still\nthen\nthere\nthus\ntoo\nvery\n";

static const char chinese[] =
    /* particles */
    "的\n地\n得\n了\n着\n过\n吗\n呢\n吧\n啊\n呀\n嘛\n哦\n之\n等\n等等\n"
    /* pronouns and demonstratives */
    "我\n你\n您\n他\n她\n它\n我们\n你们\n他们\n她们\n它们\n咱们\n自己\n我的\n你的\n他的\n她的\n"
    "它的\n我们的\n他们的\n这\n那\n这个\n那个\n这些\n那些\n这样\n那样\n这里\n那里\n这儿\n那儿\n"
    "此\n该\n各\n每\n某\n其\n其他\n其它\n其中\n"
    /* question words */
    "什么\n谁\n哪\n哪个\n哪些\n哪里\n怎么\n怎样\n怎么样\n如何\n为什么\n多少\n几\n"
    /* to be, to have */
    "是\n就是\n是的\n有\n"
    /* prepositions */
    "在\n从\n自\n自从\n到\n向\n往\n于\n以\n由\n由于\n被\n把\n将\n给\n让\n为\n为了\n因\n因为\n"
    "对于\n关于\n根据\n按照\n通过\n随着\n除了\n除\n与\n和\n跟\n同\n及\n以及\n或\n或者\n还是\n"
    /* conjunctions */
    "而\n而且\n并\n并且\n但\n但是\n可是\n然而\n不过\n虽然\n尽管\n如果\n假如\n只要\n只有\n所以\n"
    "因此\n于是\n然后\n那么\n则\n即\n即使\n无论\n不管\n不但\n不仅\n此外\n另外\n"
    /* adverbs of degree, scope and time */
    "也\n又\n还\n再\n都\n就\n才\n很\n太\n更\n最\n非常\n十分\n比较\n已\n已经\n曾\n曾经\n正\n正在\n"
    "仍\n仍然\n只\n仅\n仅仅\n便\n却\n越\n一样\n一些\n一个\n一种\n一下\n";

const char *bk_stop_list(bk_str name) {
    if (bk_str_eq(name, BK_STR("en"))) return english;
    return bk_str_eq(name, BK_STR("zh")) ? chinese : NULL;
}
